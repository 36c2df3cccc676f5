"""The out-of-core order statistic is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.checkpoint import InMemory
from mergeward.merge import StaticProblem
from mergeward.merge.static import magnitude
from mergeward.merge.static import problem as parts
from mergeward.merge.static.magnitude import kth_magnitudes

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def selected(values: torch.Tensor, rank: int, tensors: int = 1) -> float:
    tuned = {str(index): part for index, part in enumerate(values.tensor_split(tensors))}
    base = {name: torch.zeros_like(part) for name, part in tuned.items()}
    problem = StaticProblem(InMemory(base), [InMemory(tuned)], list(base), ["tuned"])
    return kth_magnitudes(problem, {0: rank})[0].value


@settings(max_examples=50)
@given(st.lists(FLOATS | st.sampled_from([0.0, -0.0, 1.0, -1.0]), min_size=1, max_size=40), st.data())
def test_every_rank_is_that_of_kthvalue(numbers: list[float], data: st.DataObject) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    rank = data.draw(st.integers(1, len(numbers)))
    tensors = data.draw(st.integers(1, 4))
    assert selected(values, rank, tensors) == float(values.abs().kthvalue(rank).values)


def test_extremes_of_float32_are_ordered() -> None:
    info = torch.finfo(torch.float32)
    values = torch.tensor([-info.max, info.tiny, 1e-45, 0.0])
    assert [selected(values, rank) for rank in (1, 2, 3, 4)] == [
        0.0, float(values[2]), info.tiny, info.max,
    ]  # fmt: skip


def test_division_into_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)).reshape(10, 100)
    whole = selected(values, 801)
    monkeypatch.setattr(parts, "BLOCK", 7)
    assert selected(values, 801) == whole == float(values.abs().flatten().kthvalue(801).values)


def test_values_are_left_as_they_are() -> None:
    values = torch.tensor([-1.0, 2.0])
    selected(values, 1)
    assert values.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("rank", [1, 2_000, 40_000, 99_999, 100_000])
def test_a_sample_that_misleads_costs_passes_and_nothing_else(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magnitude, "SAMPLE", range(500, 600))
    monkeypatch.setattr(magnitude, "BINS", 1 << 8)
    generator = torch.Generator().manual_seed(0)
    # The head of the block, which is what is sampled, is unlike the rest.
    values = torch.cat(
        [1e-3 * torch.randn(500, generator=generator), torch.randn(99_500, generator=generator)]
    )
    assert selected(values, rank) == float(values.abs().kthvalue(rank).values)
