"""Which layer of its model a tensor belongs to, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mergeward.errors import RecipeError
from mergeward.recipe import Place

STACK = re.compile(r"(?:^|.*?\.)(?:layers|layer|blocks|block|resblocks|h)\.(?=(\d+)(?:\.|$))")
"""A stack of layers: everything up to the first number that follows one of these words."""

BEFORE = re.compile(r"embed|token|position|patch|pre_|_pre|shared|wte|wpe|stem|conv1")
"""Words in the names of what comes before the layers: embeddings, and what stands at the input."""


def places(names: Iterable[str]) -> dict[str, Place]:
    """Return where each tensor lies.

    Layers are counted in each stack (`text_model.encoder.layers.N`, `vision_model.encoder.layers.N`) by the
    highest number in it. A tensor in no stack lies before the layers if its name has a word of `BEFORE`, and
    else after them (final norms, heads).

    Args:
        names: The tensors of a model.

    Example:
        >>> found = places(["embed.weight", "layers.0.w", "layers.1.w", "norm.weight"])
        >>> [place.layer for place in found.values()]
        [-1, 0, 1, 2]
    """
    found = {name: _stack(name) for name in names}
    sizes = _sizes(filter(None, found.values()))
    longest = max(sizes.values(), default=1)
    return {
        name: _outside(name, longest) if inside is None else Place(name, inside[1], sizes[inside[0]])
        for name, inside in found.items()
    }


def check_slices(slices: Sequence[tuple[int, int]], names: Iterable[str]) -> None:
    """Check that the ranges of mergekit's `slices`, which follow each other, are all layers of a model.

    Args:
        slices: First layer of each range, and the one after its last.
        names: The tensors that take part.

    Raises:
        RecipeError: There are fewer or more layers, or several stacks of them.
    """
    sizes = _sizes(filter(None, map(_stack, names)))
    if len(sizes) != 1:
        found = ", ".join(sorted(sizes)) or "none"
        raise RecipeError(
            f"recipe: slices: expected a model with one stack of layers, found {found}; use models"
        )
    layers = next(iter(sizes.values()))
    if slices[-1][1] != layers:
        raise RecipeError(
            f"recipe: slices[{len(slices) - 1}]: layers end at {slices[-1][1]}, the model has {layers}; "
            f"the output has every layer once, in its place"
        )


def _stack(name: str) -> tuple[str, int] | None:
    match = STACK.match(name)
    return None if match is None else (match.group(), int(match.group(1)))


def _sizes(found: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return how many layers each stack has."""
    sizes: dict[str, int] = {}
    for stack, layer in found:
        sizes[stack] = max(sizes.get(stack, 0), layer + 1)
    return sizes


def _outside(name: str, layers: int) -> Place:
    return Place(name, -1 if BEFORE.search(name) else layers, layers)
