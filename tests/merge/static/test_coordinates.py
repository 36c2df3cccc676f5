"""MagMax, consensus and Model Stock: the rules of each."""

from __future__ import annotations

import pytest
import torch

from mergeward.errors import RecipeError
from static_merges import merge_states


def merge(name: str, taus: list[list[float]], **parameters: object) -> list[float]:
    base = {"w": torch.zeros(len(taus[0]))}
    merged: list[float] = merge_states(name, base, [{"w": torch.tensor(tau)} for tau in taus], parameters)[
        "w"
    ].tolist()
    return merged


def test_magmax_takes_the_farthest_and_of_equals_the_positive() -> None:
    taus = [[1.0, -5.0, 2.0], [-3.0, 4.0, -2.0]]
    assert merge("magmax", taus, weight=1.0) == [-3.0, -5.0, 2.0]
    assert merge("magmax", taus[::-1], weight=1.0) == [-3.0, -5.0, 2.0]
    assert merge("magmax", taus, weight=0.5, **{"lambda": 2.0}) == [-3.0, -5.0, 2.0]


def test_consensus_leaves_out_what_a_single_task_needs() -> None:
    # Where the tasks agree both need the coordinate; where one moves alone, only that one does.
    taus = [[1.0, 4.0, 0.0], [1.0, 0.0, 0.0]]
    assert merge("consensus", taus, weight=1.0) == [2.0, 0.0, 0.0]
    assert merge("consensus", taus, weight=1.0, agreement=1) == [2.0, 4.0, 0.0]
    assert merge("consensus", taus, weight=1.0, agreement=0) == [2.0, 4.0, 0.0]


def test_a_larger_mask_lambda_needs_fewer_coordinates() -> None:
    taus = [[1.0, 1.0], [1.0, 3.0]]
    assert merge("consensus", taus, weight=1.0, mask_lambda=0.3) == [2.0, 4.0]
    assert merge("consensus", taus, weight=1.0, mask_lambda=0.5) == [2.0, 0.0]


def test_consensus_refuses_more_agreement_than_models() -> None:
    with pytest.raises(RecipeError, match="agreement: 3 of 2 models"):
        merge("consensus", [[1.0], [1.0]], agreement=3)


@pytest.mark.parametrize(
    ("second", "ratio"), [([1.0, 0.0], 1.0), ([0.0, 1.0], 0.0), ([-1.0, 0.0], 0.0), ([1.0, 1.0], 0.8284271)]
)
def test_model_stock_goes_as_far_as_the_angle_says(second: list[float], ratio: float) -> None:
    expected = [ratio * (one + other) / 2 for one, other in zip([1.0, 0.0], second, strict=True)]
    assert merge("model_stock", [[1.0, 0.0], second]) == pytest.approx(expected)


def test_three_models_of_model_stock_share_the_mean_cosine() -> None:
    merged = merge("model_stock", [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ratio = 3 * (1 / 3) / (1 + 2 * (1 / 3))
    assert merged == pytest.approx([ratio * 2 / 3, ratio / 3])


def test_model_stock_may_measure_each_row() -> None:
    base = {"w": torch.zeros(2, 2)}
    models = [{"w": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}, {"w": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}]
    merged = merge_states("model_stock", base, models, {"filter_wise": True})["w"]
    assert merged.tolist() == [[1.0, 0.0], [0.0, 0.0]]
