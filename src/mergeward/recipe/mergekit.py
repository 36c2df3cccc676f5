"""What mergekit's recipes have and ours do not need: translated, accepted without effect, or refused.

mergekit's `slices` build a model from ranges of layers. Where they put every layer in its own place, they are
settings by layer: each value of a slice becomes an entry for the slice's `layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from mergeward.errors import RecipeError
from mergeward.recipe.checking import validated
from mergeward.recipe.entries import Location, ParameterValues, Part
from mergeward.recipe.layered import LayerRange, entries

REFUSED = {
    "modules": "one recipe merges one model; write a recipe for each module",
    "chat_template": "the output has the base's; leave the key out",
}
"""Keys of mergekit's that would change the result, and what to do instead."""

NO_EFFECT = {
    "tokenizer_source": "the output has the base's tokenizer in any case",
    "tokenizer": "the output has the base's tokenizer in any case",
}
"""Keys of mergekit's that are accepted where they ask for what is done in any case."""


class Source(Part):
    """One model in a slice, with mergekit's keys."""

    model: Location
    layer_range: LayerRange
    parameters: ParameterValues = Field(default_factory=dict)


class Slice(Part):
    """A range of layers of the output, with mergekit's keys."""

    sources: tuple[Source, ...]
    parameters: ParameterValues = Field(default_factory=dict)
    base_model: Location | None = None


def translated(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without the keys that only mergekit has.

    Args:
        recipe: What a user wrote.

    Returns:
        The same merge, with `models` in place of mergekit's `slices`, whose ranges of layers are left.

    Raises:
        RecipeError: A key asks for what is not done here, or the slices do not put every layer in its place.
    """
    for key, reason in REFUSED.items():
        if recipe.get(key) is not None:
            raise RecipeError(f"recipe: {key}: not supported; {reason}")
    _check_tokenizer(recipe)
    left = {key: value for key, value in recipe.items() if key not in REFUSED}
    return _without_slices(left) if left.get("slices") is not None else left


def _check_tokenizer(recipe: Mapping[str, Any]) -> None:
    tokenizer = recipe.get("tokenizer")
    sources = {"tokenizer_source": recipe.get("tokenizer_source")}
    if isinstance(tokenizer, Mapping):
        sources["tokenizer.source"] = tokenizer.get("source")
        if extra := [key for key in tokenizer if key != "source" and tokenizer[key] is not None]:
            raise RecipeError(f"recipe: tokenizer.{extra[0]}: not supported; the tokenizer is the base's")
    elif tokenizer is not None:
        raise RecipeError("recipe: tokenizer: expected {source: base}")
    for key, source in sources.items():
        if source not in (None, "base", recipe.get("base_model")):
            raise RecipeError(
                f"recipe: {key}: {source!r} is not supported; the output has the base's tokenizer (base)"
            )


def _without_slices(recipe: Mapping[str, Any]) -> dict[str, Any]:
    if recipe.get("models") is not None:
        raise RecipeError("recipe: expected either models or slices, found both")
    given = recipe["slices"]
    if not isinstance(given, list) or not given or not all(isinstance(one, Mapping) for one in given):
        raise RecipeError("recipe: slices: expected a list of slices, each with its sources")
    slices = [validated(Slice, one, where=f"slices[{index}]") for index, one in enumerate(given)]
    _check_slices(slices, recipe.get("base_model"))
    ranges = [one.sources[0].layer_range for one in slices]
    shared = recipe.get("parameters") or {}
    if not isinstance(shared, Mapping):
        raise RecipeError(f"recipe: parameters: expected keys with values, found {shared!r}")
    return {
        **recipe,
        "slices": ranges,
        "models": [
            {
                "model": source.model,
                "parameters": _by_layers(
                    [_of(one, source.model).parameters for one in slices], ranges, after={}
                ),
            }
            for source in slices[0].sources
        ],
        "parameters": _by_layers([one.parameters for one in slices], ranges, after=shared),
    }


def _check_slices(slices: list[Slice], base_model: object) -> None:
    expected = {source.model for source in slices[0].sources}
    following = 0
    for index, one in enumerate(slices):
        key = f"recipe: slices[{index}]"
        models = [source.model for source in one.sources]
        if not models or len(set(models)) != len(models) or set(models) != expected:
            raise RecipeError(f"{key}.sources: expected every model once in every slice, found {models}")
        ranges = {source.layer_range for source in one.sources}
        start, stop = one.sources[0].layer_range
        if len(ranges) > 1 or start != following:
            raise RecipeError(
                f"{key}: layers can be neither stacked nor moved here; expected layer_range "
                f"[{following}, ...] of every source"
            )
        if one.base_model is not None and one.base_model != base_model:
            raise RecipeError(f"{key}.base_model: a recipe has one base")
        following = stop


def _of(one: Slice, model: str) -> Source:
    return next(source for source in one.sources if source.model == model)


def _by_layers(
    slices: list[dict[str, Any]], ranges: list[tuple[int, int]], *, after: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge the parameters of slices into one mapping, and what holds where they say nothing `after` them."""
    for parameters, (start, stop) in zip(slices, ranges, strict=True):
        for key, value in parameters.items():
            if any("layers" in entry for entry in entries(value)):
                raise RecipeError(f"recipe: {key}: layers are the slice's own, {start} to {stop}")
    keys = dict.fromkeys(key for parameters in slices for key in parameters)
    return dict(after) | {
        key: [
            {**entry, "layers": list(layers)}
            for parameters, layers in zip(slices, ranges, strict=True)
            for entry in entries(parameters.get(key))
            if key in parameters
        ]
        + (entries(after[key]) if key in after else [])
        for key in keys
    }
