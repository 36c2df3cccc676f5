"""From a recipe's parameters to the settings of every tensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mergeward.errors import RecipeError
from mergeward.merge import (
    MethodInfo,
    Settings,
    check_parameters,
    method,
    methods,
    schedule,
    validate_parameters,
)

every_method = pytest.mark.parametrize("info", methods(), ids=lambda info: info.name)

NAMES = [
    "embed.weight",
    *(f"layers.{layer}.{part}.weight" for layer in range(5) for part in ("attn", "mlp")),
    "norm.weight",
]


@every_method
def test_defaults_are_valid(info: MethodInfo) -> None:
    count = max(2, info.min_contributions)
    parameters, models = validate_parameters(info, {}, [{}] * count)
    assert parameters == info.parameters()
    assert models == (info.model_parameters(),) * count


@every_method
def test_an_unknown_key_is_refused(info: MethodInfo) -> None:
    with pytest.raises(RecipeError, match=r"parameters\.nonsense: unknown key"):
        validate_parameters(info, {"nonsense": 1}, [{}] * info.min_contributions)
    with pytest.raises(RecipeError, match=r"models\[1\]\.parameters\.nonsense: unknown key"):
        validate_parameters(info, {}, [{}, {"nonsense": 1}, *[{}] * (info.min_contributions - 2)])


@every_method
def test_too_few_contributions_are_refused(info: MethodInfo) -> None:
    with pytest.raises(RecipeError, match=f"{info.name} needs at least {info.min_contributions}"):
        validate_parameters(info, {}, [{}] * (info.min_contributions - 1))


def test_too_many_contributions_are_refused() -> None:
    with pytest.raises(RecipeError, match="slerp takes at most 2, the recipe has 3"):
        validate_parameters(method("slerp"), {}, [{}] * 3)


def test_a_per_model_key_among_the_parameters_is_every_models_default() -> None:
    _, models = validate_parameters(method("ties"), {"density": 0.5}, [{}, {"density": 0.7}])
    assert [model.model_dump()["density"] for model in models] == [0.5, 0.7]


def test_keys_are_those_of_mergekit_and_no_others() -> None:
    parameters, _ = validate_parameters(method("ties"), {"lambda": 0.5}, [{}])
    assert parameters.model_dump(by_alias=True)["lambda"] == 0.5
    with pytest.raises(RecipeError, match="scale"):
        validate_parameters(method("ties"), {"scale": 0.5}, [{}])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"densty": 0.5}, r"parameters\.densty: unknown key; did you mean 'density'"),
        ({"lambd": 0.5}, r"did you mean 'lambda'"),
        ({"density": 1.5}, r"parameters\.density: input should be less than or equal to 1"),
        ({"density": 0}, r"density: input should be greater than 0"),
        ({"weight": float("nan")}, r"weight: input should be a finite number"),
        ({"normalize": "perhaps"}, r"parameters\.normalize: .*boolean"),
        ({"lambda": "much"}, r"parameters\.lambda: .*number"),
        ({"lambda": "x", "normalize": "perhaps"}, r"parameters\.lambda: .*; parameters\.normalize: "),
    ],
)
def test_wrong_values_are_refused_by_key(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        validate_parameters(method("ties"), parameters, [{}])
    assert "\n" not in str(caught.value)


def test_zero_is_a_value() -> None:
    _, models = validate_parameters(method("task_arithmetic"), {"weight": 0.5}, [{"weight": 0}])
    assert models[0].model_dump() == {"weight": 0.0}


def of(settings: Settings[Any, Any], key: str, model: int = 0) -> Any:
    return settings.models[model].model_dump(by_alias=True)[key]


def test_a_list_is_a_value_for_every_layer() -> None:
    found = schedule(method("ties"), {}, [{"weight": [0, 1]}, {"weight": 0.5}], NAMES)
    assert [of(found[f"layers.{layer}.mlp.weight"], "weight") for layer in range(5)] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]
    assert (of(found["embed.weight"], "weight"), of(found["norm.weight"], "weight")) == (0, 1)
    assert {of(found[name], "weight", 1) for name in NAMES} == {0.5}


def test_where_none_of_a_models_entries_matches_the_common_value_holds() -> None:
    only_attn = [{"filter": "attn", "value": 2}]
    found = schedule(
        method("ties"), {"weight": [{"filter": "mlp", "value": 3}]}, [{"weight": only_attn}], NAMES
    )
    assert of(found["layers.1.attn.weight"], "weight") == 2
    assert of(found["layers.1.mlp.weight"], "weight") == 3
    assert of(found["norm.weight"], "weight") == method("ties").model_parameters().model_dump()["weight"]


def test_the_methods_own_parameters_may_vary_too() -> None:
    found = schedule(method("ties"), {"lambda": [{"filter": "mlp", "value": 2}, {"value": 1}]}, [{}], NAMES)
    assert found["layers.0.mlp.weight"].parameters.scale == 2
    assert found["layers.0.attn.weight"].parameters.scale == 1


def test_equal_settings_are_one_object() -> None:
    names = [f"layers.{layer}.{part}.weight" for layer in range(100) for part in range(10)]
    found = schedule(method("ties"), {"lambda": [0, 1]}, [{}] * 4, names)
    assert len({id(found[name]) for name in names}) == 100
    assert len({id(model) for name in names for model in found[name].models}) == 4


def test_values_that_come_to_the_same_everywhere_are_uniform() -> None:
    found = schedule(method("ties"), {"density": [{"value": 0.5}], "weight": [0.3, 0.3]}, [{}], NAMES)
    assert found.uniform("ties", "density", "weight") is found.default


def test_a_field_that_varies_is_seen() -> None:
    found = schedule(method("ties"), {"density": [0.1, 0.9]}, [{}], NAMES)
    found.uniform("ties", "weight")
    with pytest.raises(RecipeError, match=r"parameters\.density: ties needs one value for all tensors"):
        found.uniform("ties", "density")


@pytest.mark.parametrize(
    ("parameters", "model", "message"),
    [
        ({"density": [0.5, 1.5]}, {}, r"parameters\.density: .*less than or equal to 1"),
        ({}, {"density": [{"filter": "never", "value": 0}]}, r"models\[0\]\.parameters\.density: .*greater"),
        ({"lambda": [{"value": "much"}]}, {}, r"parameters\.lambda: .*number"),
        ({}, {"densty": [1, 2]}, r"models\[0\]\.parameters\.densty: unknown key; did you mean 'density'"),
        ({"weight": [float("nan"), 1]}, {}, r"parameters\.weight: .*finite"),
        ({"weight": [1, "x"]}, {}, r"parameters\.weight: expected one number"),
    ],
)
def test_every_value_is_checked_without_a_tensor(
    parameters: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        check_parameters(method("ties"), parameters, {"models[0]": model})


def test_a_value_that_is_wrong_only_between_two_is_named_with_its_tensor() -> None:
    info = method("adamerging")
    with pytest.raises(RecipeError, match=r"parameters\.steps: .*\(for tensor 'layers\.1\.attn\.weight'\)"):
        schedule(replace(info, kind="static"), {"steps": [1, 2]}, [{}], NAMES)


def test_methods_that_learn_take_one_value() -> None:
    with pytest.raises(RecipeError, match="adamerging takes one value for all tensors"):
        schedule(method("adamerging"), {"steps": [1, 2]}, [{}], NAMES)


def test_without_tensors_nothing_can_vary() -> None:
    with pytest.raises(RecipeError, match="there is no tensor"):
        schedule(method("ties"), {"weight": [0, 1]}, [{}])
