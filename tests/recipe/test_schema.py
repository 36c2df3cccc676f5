"""Reading recipes, and refusing wrong ones by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mergeward.errors import RecipeError
from mergeward.recipe import Recipe

MINIMAL: dict[str, Any] = {"merge_method": "ties", "base_model": "base", "models": [{"model": "one"}]}


def test_defaults() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    assert (recipe.dtype, recipe.torch_dtype, recipe.data, recipe.seed, recipe.scope) == (
        None, None, None, 0, "auto",
    )  # fmt: skip
    assert recipe.parameters == {}


def test_python_callers_may_give_paths(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({**MINIMAL, "base_model": tmp_path, "models": [{"model": tmp_path / "a"}]})
    assert (recipe.base_model, recipe.models[0].model) == (str(tmp_path), str(tmp_path / "a"))


def test_recipes_are_frozen() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_metod": "ties"}, "merge_metod: unknown key; did you mean 'merge_method'"),
        ({"slices": []}, "expected either models or slices, found both"),
        ({"models": [{"model": "a", "paramters": {}}]}, r"models\[0\]\.paramters: unknown.* 'parameters'"),
        ({"models": [{"weight": 1}]}, r"models\[0\]\.model: missing"),
        ({"models": []}, "models: empty"),
        ({"models": "one"}, "models: "),
        ({"models": ["one"]}, r"models\[0\]: "),
        ({"base_model": ""}, "base_model: "),
        ({"base_model": 3}, "base_model: "),
        ({"dtype": "float64"}, "dtype: .*'float32', 'float16' or 'bfloat16'"),
        ({"scope": "text"}, "scope: .*'auto', 'all' or 'vision'"),
        ({"seed": -1}, "seed: "),
        ({"seed": "x"}, "seed: "),
        ({"parameters": [1]}, "parameters: "),
        ({"parameters": {"density": []}}, r"parameters\.density: expected one number"),
        ({"parameters": {"density": [0.1, "x"]}}, r"parameters\.density: expected one number"),
        ({"parameters": {"density": [0.1, True]}}, r"parameters\.density: expected one number"),
        (
            {"parameters": {"weight": {"filter": "mlp", "value": 1}}},
            r"parameters\.weight: .*list of \{filter",
        ),
        (
            {"models": [{"model": "a", "parameters": {"weight": [{"filter": "x"}]}}]},
            r"models\[0\]\.parameters\.weight: entry \[0\]\.value: missing",
        ),
        (
            {"parameters": {"weight": [{"value": 1}, {"filtre": "x", "value": 1}]}},
            r"parameters\.weight: entry \[1\]\.filtre: unknown key; did you mean 'filter'",
        ),
        ({"parameters": {"weight": [{"value": 1, "layers": [3, 1]}]}}, r"layers: expected 0 <= first < last"),
        ({"parameters": {"weight": [{"value": [[1]]}]}}, r"entry \[0\]\.value: expected one number"),
        ({"dtype": "f", "seed": -1}, "dtype: .*; seed: "),
    ],
)
def test_wrong_recipes_are_refused_by_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.model_validate({**MINIMAL, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["merge_method", "models"])
def test_what_is_needed_is_named_when_missing(key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key}: missing"):
        Recipe.model_validate({name: value for name, value in MINIMAL.items() if name != key})


def test_keys_without_content_are_empty() -> None:
    recipe = Recipe.model_validate(
        {**MINIMAL, "parameters": None, "models": [{"model": "a", "parameters": None}], "slices": None}
    )
    assert (recipe.parameters, recipe.models[0].parameters, recipe.slices) == ({}, {}, None)


def test_without_a_base_the_first_contribution_gives_what_is_not_merged() -> None:
    recipe = Recipe.model_validate({"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}]})
    assert (recipe.base_model, recipe.base) == (None, "a")
    assert list(recipe.contributions(needs_base=False)) == ["models[0]", "models[1]"]


def test_a_base_among_the_models_has_no_task_vector() -> None:
    models = [{"model": "a"}, {"model": "base"}, {"model": "b"}]
    recipe = Recipe.model_validate({**MINIMAL, "models": models})
    vectors = recipe.contributions(needs_base=True)
    assert {key: entry.model for key, entry in vectors.items()} == {"models[0]": "a", "models[2]": "b"}
    weights = recipe.contributions(needs_base=False)
    assert [entry.model for entry in weights.values()] == ["base", "a", "b"]
    alone = Recipe.model_validate({**MINIMAL, "models": models[1:2]})
    with pytest.raises(RecipeError, match="models: only the base itself"):
        alone.contributions(needs_base=True)


def test_out_dtype_goes_before_dtype() -> None:
    recipe = Recipe.model_validate({**MINIMAL, "dtype": "float32", "out_dtype": "bfloat16"})
    assert recipe.torch_dtype is torch.bfloat16
    assert [note.split(":")[0] for note in recipe.notes] == ["dtype"]
