"""Slerp and its relatives: ends, and the angles at which the formula breaks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.checkpoint import InMemory
from static_merges import merge_states

FINITE = st.floats(-100, 100, width=32)
vectors = st.lists(FINITE, min_size=4, max_size=4)


def slerp(first: list[float], second: list[float], t: float) -> list[float]:
    base = {"w": torch.zeros(len(first))}
    models = [{"w": torch.tensor(values)} for values in (first, second)]
    merged: list[float] = merge_states("slerp", base, models, {"t": t})["w"].tolist()
    return merged


@given(first=vectors, second=vectors)
@settings(max_examples=30)
def test_the_ends_are_the_models_bit_by_bit(first: list[float], second: list[float]) -> None:
    assert slerp(first, second, 0) == first
    assert slerp(first, second, 1) == second


def test_halfway_between_axes_keeps_the_length() -> None:
    assert slerp([1.0, 0.0], [0.0, 1.0], 0.5) == pytest.approx([math.sqrt(0.5)] * 2)


@pytest.mark.parametrize(
    "second", [[2.0, 4.0], [-2.0, -4.0], [0.0, 0.0]], ids=["parallel", "opposite", "zero"]
)
def test_parallel_opposite_and_zero_are_interpolated_linearly(second: list[float]) -> None:
    expected = [0.75 * one + 0.25 * other for one, other in zip([1.0, 2.0], second, strict=True)]
    assert slerp([1.0, 2.0], second, 0.25) == pytest.approx(expected)


def test_a_single_contribution_is_reached_from_the_base() -> None:
    base, model = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    third = merge_states("slerp", base, [model], {"t": 1 / 3})["w"]
    assert third.tolist() == pytest.approx([math.cos(math.pi / 6), 0.5])


@pytest.mark.parametrize("swapped", [False, True])
def test_the_base_among_the_models_is_where_t_is_zero(swapped: bool) -> None:
    base = InMemory({"w": torch.tensor([1.0, 0.0])}, name="base")
    again = InMemory({"w": torch.tensor([1.0, 0.0])}, name="base")
    tuned = InMemory({"w": torch.tensor([0.0, 1.0])}, name="tuned")
    models = [tuned, again] if swapped else [again, tuned]
    assert merge_states("slerp", base, models, {"t": 0})["w"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["nuslerp", "multislerp", "karcher"])
def test_opposite_and_zero_task_vectors_give_finite_results(name: str) -> None:
    base = {"w": torch.tensor([1.0, 2.0])}
    for taus in ([[1.0, 1.0], [-1.0, -1.0]], [[0.0, 0.0], [1.0, 1.0]], [[-1.0, -2.0], [-1.0, -2.0]]):
        models = [{"w": base["w"] + torch.tensor(tau)} for tau in taus]
        assert bool(torch.isfinite(merge_states(name, base, models)["w"]).all())


@pytest.mark.parametrize("name", ["multislerp", "karcher"])
def test_one_contribution_is_itself(name: str) -> None:
    base, model = {"w": torch.tensor([1.0, 2.0])}, torch.tensor([3.0, -1.0])
    torch.testing.assert_close(merge_states(name, base, [{"w": model}])["w"], model)


def test_weights_of_nuslerp_say_where_to_go() -> None:
    base = {"w": torch.zeros(2)}
    models = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}]
    merged = merge_states("nuslerp", base, models, per_model=[{"weight": 2.0}, {"weight": 1.0}])["w"]
    assert merged.tolist() == pytest.approx([math.cos(math.pi / 6), 0.5])
