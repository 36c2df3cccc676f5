"""The out-of-core order statistic is exact."""

from __future__ import annotations

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.merge.static import magnitude
from mergeward.merge.static.magnitude import MagnitudeSelector

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def selected(values: torch.Tensor, rank: int, parts: int = 1) -> float:
    selector = MagnitudeSelector(rank)
    for part in values.tensor_split(parts):
        selector.count_upper(part)
    selector.choose_bucket()
    for part in values.tensor_split(parts):
        selector.count_lower(part)
    return selector.threshold()


@settings(max_examples=50)
@given(st.lists(FLOATS | st.sampled_from([0.0, -0.0, 1.0, -1.0]), min_size=1, max_size=40), st.data())
def test_every_rank_is_that_of_kthvalue(numbers: list[float], data: st.DataObject) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    rank = data.draw(st.integers(1, len(numbers)))
    parts = data.draw(st.integers(1, 4))
    assert selected(values, rank, parts) == float(values.abs().kthvalue(rank).values)


def test_extremes_of_float32_are_ordered() -> None:
    info = torch.finfo(torch.float32)
    values = torch.tensor([-info.max, info.tiny, 1e-45, 0.0])
    assert [selected(values, rank) for rank in (1, 2, 3, 4)] == [
        0.0, float(values[2]), info.tiny, info.max,
    ]  # fmt: skip


def test_division_into_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).reshape(10, 100)
    whole = selected(values, 801)
    monkeypatch.setattr(magnitude, "CHUNK", 7)
    assert selected(values, 801) == whole == float(values.abs().flatten().kthvalue(801).values)


def test_values_are_left_as_they_are() -> None:
    values = torch.tensor([-1.0, 2.0])
    selected(values, 1)
    assert values.tolist() == [-1.0, 2.0]


def test_example_in_the_docstring() -> None:
    assert doctest.testmod(magnitude).failed == 0
