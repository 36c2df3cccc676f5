"""mergekit's forms of a recipe: translated, accepted without effect, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from mergeward.errors import RecipeError
from mergeward.recipe import Recipe

WHOLE: dict[str, Any] = {"merge_method": "ties", "base_model": "base", "models": [{"model": "one"}]}


def source(model: str, start: int, stop: int, **parameters: Any) -> dict[str, Any]:
    return {"model": model, "layer_range": [start, stop], "parameters": parameters}


def sliced(*slices: dict[str, Any], **more: Any) -> Recipe:
    whole = {"merge_method": "ties", "base_model": "base", "slices": list(slices), **more}
    return Recipe.model_validate(whole)


def test_one_slice_of_all_layers_is_the_models_it_has() -> None:
    recipe = sliced({"sources": [source("a", 0, 32), source("b", 0, 32)]}, parameters={"density": [0.1, 0.9]})
    assert [entry.model for entry in recipe.models] == ["a", "b"]
    assert [entry.parameters for entry in recipe.models] == [{}, {}]
    assert (recipe.slices, recipe.parameters) == (((0, 32),), {"density": [0.1, 0.9]})
    assert list(recipe.contributions(needs_base=True)) == ["slices[].sources[0]", "slices[].sources[1]"]


def test_slices_are_settings_by_layer() -> None:
    recipe = sliced(
        {"sources": [source("a", 0, 8, weight=0.2), source("b", 0, 8)], "parameters": {"density": 0.5}},
        {"sources": [source("b", 8, 12, weight=[1, 0]), source("a", 8, 12)]},
        parameters={"density": 0.9, "lambda": 2},
    )
    assert recipe.slices == ((0, 8), (8, 12))
    assert [entry.parameters for entry in recipe.models] == [
        {"weight": [{"value": 0.2, "layers": [0, 8]}]},
        {"weight": [{"value": [1, 0], "layers": [8, 12]}]},
    ]
    assert recipe.parameters == {
        "density": [{"value": 0.5, "layers": [0, 8]}, {"value": 0.9}],
        "lambda": 2,
    }


def test_shared_parameters_that_are_none_are_refused() -> None:
    with pytest.raises(RecipeError, match="parameters: expected keys with values, found 3"):
        sliced({"sources": [source("a", 0, 8)]}, parameters=3)


def test_filters_within_a_slice_stay() -> None:
    weight = [{"filter": "mlp", "value": 1}, {"value": 0}]
    recipe = sliced({"sources": [source("a", 0, 8, weight=weight)]})
    assert recipe.models[0].parameters["weight"] == [
        {"filter": "mlp", "value": 1, "layers": [0, 8]},
        {"value": 0, "layers": [0, 8]},
    ]


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([{"sources": [source("a", 4, 8)]}], r"slices\[0\]: layers can be neither stacked nor moved"),
        (
            [{"sources": [source("a", 0, 24)]}, {"sources": [source("a", 8, 32)]}],
            r"slices\[1\]: layers can be neither stacked.*layer_range \[24, ...\]",
        ),
        ([{"sources": [source("a", 0, 8), source("b", 8, 16)]}], r"slices\[0\]: layers can be neither"),
        (
            [{"sources": [source("a", 0, 8)]}, {"sources": [source("b", 8, 16)]}],
            r"slices\[1\]\.sources: expected every model once in every slice, found \['b'\]",
        ),
        ([{"sources": [source("a", 0, 8)] * 2}], r"slices\[0\]\.sources: expected every model once"),
        ([{"sources": []}], r"slices\[0\]\.sources: expected every model once"),
        ([{"source": []}], r"slices\[0\]\.source: unknown key; did you mean 'sources'"),
        ([{"sources": [{"model": "a"}]}], r"slices\[0\]\.sources\[0\]\.layer_range: missing"),
        ([{"sources": [source("a", 0, 8)], "base_model": "other"}], r"slices\[0\]\.base_model: .*one base"),
        ([{"sources": [source("a", 0, 8)], "residual_weight": 1}], r"residual_weight: unknown key"),
        (
            [{"sources": [source("a", 0, 8, weight=[{"value": 1, "layers": [0, 4]}])]}],
            "weight: layers are the slice's own, 0 to 8",
        ),
        (["a"], "slices: expected a list of slices"),
        ([], "slices: expected a list of slices"),
    ],
)
def test_other_slices_are_refused(slices: list[Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        sliced(*slices)


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer_source": "base"},
        {"tokenizer_source": None},
        {"tokenizer_source": "base", "chat_template": None},
        {"tokenizer": {"source": "base"}},
    ],
)
def test_what_has_no_effect_is_accepted_and_said(change: dict[str, Any]) -> None:
    recipe = Recipe.model_validate({**WHOLE, **change})
    said = [note.split(":")[0] for note in recipe.notes]
    assert said == [key for key, value in change.items() if value is not None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer_source": "union"}, "tokenizer_source: 'union' is not supported"),
        ({"tokenizer_source": "one"}, "tokenizer_source: 'one' is not supported"),
        ({"tokenizer": {"source": "union"}}, r"tokenizer\.source: 'union' is not supported"),
        ({"tokenizer": {"source": "base", "tokens": {"x": {}}}}, r"tokenizer\.tokens: not supported"),
        ({"tokenizer": "union"}, r"tokenizer: expected \{source: base\}"),
        ({"chat_template": "auto"}, "chat_template: not supported"),
        ({"modules": {"text": {}}}, "modules: not supported"),
    ],
)
def test_what_would_change_the_result_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.model_validate({**WHOLE, **change})
