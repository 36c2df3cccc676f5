"""The average, beyond what every method keeps to."""

from __future__ import annotations

import pytest
import torch

from mergeward.errors import RecipeError
from static_merges import merge_states

ONES = {"w": torch.ones(3)}


def test_an_average_of_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="average needs one above zero"):
        merge_states("average", ONES, [ONES, ONES], per_model=[{"weight": 0}, {"weight": 0}])


def test_a_model_of_weight_zero_takes_no_part() -> None:
    merged = merge_states(
        "average", ONES, [ONES, {"w": torch.full((3,), 9.0)}], per_model=[{}, {"weight": 0}]
    )
    assert merged["w"].tolist() == [1.0, 1.0, 1.0]
