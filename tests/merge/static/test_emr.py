"""EMR: the elected task vector, and the model of one task that it gives back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mergeward.errors import RecipeError
from static_merges import merge_states

TAUS = ([1.0, -2.0, 3.0, 0.5], [2.0, 1.0, -1.0, -0.5], [4.0, -5.0, 0.0, 0.0])


def merge(**parameters: Any) -> list[float]:
    models = [{"w": torch.tensor(tau)} for tau in TAUS]
    values: list[float] = merge_states("emr", {"w": torch.zeros(4)}, models, parameters)["w"].tolist()
    return values


def test_the_largest_magnitude_of_the_elected_sign_is_taken() -> None:
    # The last sum is zero, which elects the negative sign.
    assert merge() == [4.0, -5.0, 3.0, -0.5]


def test_a_task_gets_its_own_signs_and_mean_magnitude() -> None:
    # Task 1 agrees at the first and the last coordinate: 4.5 is left of its 4.5.
    assert merge(task=1) == [4.0, 0.0, 0.0, -0.5]
    # Task 0 agrees at the first three: 12 is left of its 6.5.
    assert merge(task=0) == pytest.approx([4 * 6.5 / 12, -5 * 6.5 / 12, 3 * 6.5 / 12, 0.0])


def test_means_of_tensors_count_alike() -> None:
    base = {"large": torch.zeros(4), "small": torch.zeros(1)}
    one = {"large": torch.full((4,), 1.0), "small": torch.tensor([1.0])}
    two = {"large": torch.full((4,), 2.0), "small": torch.tensor([6.0])}
    merged = merge_states("emr", base, [one, two], {"task": 0})
    assert merged["large"].tolist() == [2 * 2 / 8] * 4
    assert merged["small"].tolist() == [6 * 2 / 8]


def test_a_task_that_agrees_nowhere_gets_the_base() -> None:
    models = [{"w": torch.tensor([-1.0])}, {"w": torch.tensor([2.0])}]
    assert merge_states("emr", {"w": torch.zeros(1)}, models, {"task": 0})["w"].tolist() == [0.0]


def test_a_task_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"parameters\.task: 3; there are 3 contributions, counted from 0"):
        merge(task=3)
