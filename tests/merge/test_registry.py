"""The table of merge methods, and the check of their parameters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mergeward.errors import RecipeError, UsageError
from mergeward.merge import METHODS, MethodInfo, method, methods, validate_parameters

every_method = pytest.mark.parametrize("info", methods(), ids=lambda info: info.name)


def test_methods_are_found_by_name() -> None:
    assert [method(info.name) for info in methods()] == list(METHODS.values())


def test_an_unknown_method_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown merge method 'tie'; did you mean 'ties'"):
        method("tie")


@every_method
def test_records_are_complete(info: MethodInfo) -> None:
    assert info.summary
    assert not info.summary.endswith(".")
    assert re.search(r"arXiv:\d{4}\.\d{4,5}", info.paper)
    assert info.needs_images == (info.kind == "adaptive")
    assert info.min_contributions >= 1


@every_method
def test_parameters_are_frozen_described_and_have_defaults(info: MethodInfo) -> None:
    for model in (info.parameters, info.model_parameters):
        assert model.model_config["frozen"]
        for name, field in model.model_fields.items():
            assert field.description, name
            assert not field.is_required(), name


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
        ({"density": 1.5}, r"density: input should be less than or equal to 1"),
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
