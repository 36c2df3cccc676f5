"""Which tensors take part in a merge, and whether the contributions fit the base there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mergeward.checkpoint.source import TensorSource
from mergeward.errors import CompatibilityError, UnsupportedError
from mergeward.recipe import ScopeName

VISION_PREFIXES = ("vision_model.", "visual_projection.")
VISION_MODEL_TYPES = frozenset({"clip", "clip_vision_model"})
SHOWN_PROBLEMS = 4
MAX_POSITIONS = 1 << 20


def resolve_scope(scope: ScopeName, base: TensorSource) -> tuple[str, ...]:
    """Return the names of the tensors that take part, in the base's file order.

    Only floating tensors ever do. The scope matters beyond memory: what lies outside it is neither merged nor
    counted, so the same method over another scope is another result.

    Args:
        scope: "all"; "vision" (`vision_model.*` and `visual_projection.*`); or "auto", which is "vision" for
            a CLIP by its configuration and "all" otherwise.
        base: The base.

    Raises:
        UnsupportedError: No tensor of the base is in the scope.
    """
    if scope == "auto":
        model_type = (base.config or {}).get("model_type")
        scope = "vision" if model_type in VISION_MODEL_TYPES else "all"
    names = tuple(
        name
        for name, info in base.tensors.items()
        if info.dtype.is_floating_point and (scope == "all" or name.startswith(VISION_PREFIXES))
    )
    if not names:
        raise UnsupportedError(f"{base.name}: no floating tensor in scope {scope!r}")
    return names


def check_compatible(base: TensorSource, contributions: Sequence[TensorSource], scope: Sequence[str]) -> None:
    """Check that every contribution has what a merge over `scope` needs.

    A contribution must hold every tensor of the scope, floating and of the base's shape. It may lack others,
    which are taken from the base. It must not hold tensors that the base has not: what is in them would be
    lost without a word. Integer tensors take no part in arithmetic and the merge has the base's, so those
    of a contribution must be equal to them. They alone are read.

    Args:
        base: The base.
        contributions: The contributions.
        scope: Names of the tensors that take part.

    Raises:
        CompatibilityError: Some do not fit; every contribution that does not is named, with what is wrong.
    """
    found = {one.name: problems for one in contributions if (problems := _problems(base, one, scope))}
    if found:
        listed = " | ".join(f"{name}: {_shown(problems)}" for name, problems in found.items())
        raise CompatibilityError(f"not a fine-tune of {base.name}: {listed}", found)


def _shown(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    return "; ".join(problems[:SHOWN_PROBLEMS]) + more


def _problems(base: TensorSource, contribution: TensorSource, scope: Sequence[str]) -> list[str]:
    problems = []
    for name in scope:
        expected, found = base.tensors[name], contribution.tensors.get(name)
        if found is None:
            problems.append(f"no tensor {name!r}")
        elif found.shape != expected.shape:
            problems.append(f"{name!r} has shape {list(found.shape)}, the base's has {list(expected.shape)}")
        elif not found.dtype.is_floating_point:
            problems.append(f"{name!r} is {found.dtype}, the base's is {expected.dtype}")
    for name in contribution.tensors:
        if name not in base.tensors:
            if not _is_count(contribution, name):
                problems.append(f"tensor {name!r} is not in the base")
        elif not base.tensors[name].dtype.is_floating_point and not _same_integers(base, contribution, name):
            problems.append(f"{name!r}, which no merge changes, differs from the base's")
    return problems


def _same_integers(base: TensorSource, contribution: TensorSource, name: str) -> bool:
    ours, theirs = base.tensors[name], contribution.tensors[name]
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return False
    return torch.equal(base.view(name), contribution.view(name))


def _is_count(source: TensorSource, name: str) -> bool:
    """Whether a tensor only counts positions: files hold it or not, by the version that wrote them."""
    info = source.tensors[name]
    if not name.endswith("position_ids") or info.dtype.is_floating_point or info.numel > MAX_POSITIONS:
        return False
    return torch.equal(source.view(name).flatten(), torch.arange(info.numel, dtype=info.dtype))
