"""Keys of mergekit's that say nothing to a method, or ask it for what it does not do."""

from __future__ import annotations

from typing import Any

import pytest

from mergeward.errors import RecipeError
from mergeward.merge import method, validate_parameters
from mergeward.merge.mergekit import without_idle


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("average", {"normalize": True}),
        ("task_arithmetic", {"normalize": False}),
        ("average", {"normalize": True, "int8_mask": True}),
        ("task_arithmetic", {"int8_mask": True}),
        ("ties", {"int8_mask": False}),
    ],
)
def test_what_is_done_in_any_case_may_be_asked_for(name: str, parameters: dict[str, Any]) -> None:
    info = method(name)
    validate_parameters(info, parameters, [{}])
    _, notes = without_idle(info, parameters)
    assert sorted(note.split(":")[0] for note in notes) == sorted(f"parameters.{key}" for key in parameters)


@pytest.mark.parametrize(
    ("name", "value"), [("average", False), ("task_arithmetic", True), ("average", [0, 1])]
)
def test_what_is_not_done_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=rf"parameters\.normalize: {name} has"):
        validate_parameters(method(name), {"normalize": value}, [{}])


def test_what_a_method_has_a_use_for_is_left() -> None:
    left, notes = without_idle(method("ties"), {"normalize": True, "weight": 1})
    assert (left, notes) == ({"normalize": True, "weight": 1}, ())
