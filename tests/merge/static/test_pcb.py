"""PCB: what competes is weighed, what the others oppose is dropped."""

from __future__ import annotations

import pytest
import torch

from static_merges import merge_states


def merge(taus: list[list[float]], ratio: float) -> list[float]:
    models = [{"w": torch.tensor(tau)} for tau in taus]
    base = {"w": torch.zeros(len(taus[0]))}
    values: list[float] = merge_states("pcb", base, models, {"ratio": ratio})["w"].tolist()
    return values


def test_coordinates_that_the_sum_opposes_are_dropped() -> None:
    merged = merge([[0.5, 1.0, 2.0, 3.0, 3.0], [0.5, 1.0, 2.0, -3.5, -3.5]], 1.0)
    assert merged[3:] == pytest.approx([-3.0, -3.0], abs=0.51)
    assert all(value < 0 for value in merged[3:])


def test_only_the_share_asked_for_is_kept() -> None:
    tau = [0.1 * value for value in range(1, 101)]
    merged = torch.tensor(merge([tau], 0.1))
    # The coordinate at the quantile has no worth above it.
    assert int((merged != 0).sum()) == 9
    assert merged[:-9].count_nonzero() == 0


def test_equal_task_vectors_give_themselves_where_they_are_kept() -> None:
    tau = [0.1 * value for value in range(1, 101)]
    merged = merge([tau, tau], 0.5)
    assert merged[60:-2] == pytest.approx(tau[60:-2])
