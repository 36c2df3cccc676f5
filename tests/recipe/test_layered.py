"""Values that differ from tensor to tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeward.recipe import Place, alternatives, first_match, is_layered, rules

LAYERS = 5
NUMBERS = st.floats(-10, 10, allow_nan=False)


def value(setting: Any, layer: int, name: str = "model.layers.0.mlp.up.weight", layers: int = LAYERS) -> Any:
    return first_match(rules(setting), Place(name, layer, layers))


@pytest.mark.parametrize("scalar", [0, 0.5, -1, True, "text"])
def test_a_scalar_holds_everywhere(scalar: Any) -> None:
    assert {value(scalar, layer) for layer in range(-1, LAYERS + 1)} == {scalar}
    assert not is_layered(scalar)


@given(st.lists(NUMBERS, min_size=1, max_size=7), st.integers(2, 40))
def test_a_list_is_interpolated_over_the_layers(numbers: list[float], layers: int) -> None:
    found = [value(numbers, layer, layers=layers) for layer in range(layers)]
    knots = np.linspace(0, 1, len(numbers)) if len(numbers) > 1 else np.zeros(1)
    expected = np.interp(np.arange(layers) / (layers - 1), knots, numbers)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[0] == numbers[0]
    assert found[-1] == pytest.approx(numbers[-1])


def test_what_lies_outside_the_layers_has_the_ends_of_a_list() -> None:
    assert (value([1, 2, 3], -1), value([1, 2, 3], LAYERS)) == (1, 3)


def test_one_layer_alone_has_the_end_of_a_list() -> None:
    assert value([1, 2, 3], 0, layers=1) == 3


def test_the_first_entry_that_matches_holds() -> None:
    setting = [{"filter": "attn", "value": [0, 1]}, {"filter": "mlp", "value": 7}, {"value": 9}]
    assert value(setting, 4, "layers.4.attn.weight") == 1
    assert value(setting, 4, "layers.4.mlp.weight") == 7
    assert value(setting, 4, "layers.4.attn_mlp.weight") == 1
    assert value(setting, 5, "norm.weight") == 9
    assert value([{"filter": "*", "value": 3}, {"value": 4}], 0, "anything") == 3


def test_nothing_that_matches_is_nothing() -> None:
    assert value([{"filter": "attn", "value": 1}], 0, "layers.0.mlp.weight") is None


def test_a_range_of_layers_has_a_list_of_its_own() -> None:
    setting = [{"layers": [0, 2], "value": [0, 1]}, {"layers": [2, 5], "value": [2, 4]}]
    assert [value(setting, layer) for layer in range(-1, LAYERS + 1)] == [0, 0, 1, 2, 3, 4, 4]


def test_every_scalar_of_a_value_is_known_beforehand() -> None:
    assert alternatives([{"filter": "a", "value": [1, 2]}, {"value": "x"}]) == [1, 2, "x"]
    assert alternatives(0.5) == [0.5]
    assert is_layered([1, 2])
