"""The streaming of static merges, apart from what each method computes."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from mergeward.checkpoint import InMemory
from mergeward.errors import UnsupportedError
from mergeward.merge import merge_static, method, stream, validate_parameters
from mergeward.progress import listen
from toy_models import base_state, tuned_states


class Watched(InMemory):
    """Notes which tensors are read."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__(tensors)
        self.reads: list[str] = []

    def read(self, name: str) -> torch.Tensor:
        self.reads.append(name)
        return super().read(name)


class Listener:
    """Notes what is reported."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self.labels: list[str] = []
        self.finished: list[int] = []

    def start(self, label: str, total: int) -> int:
        self.labels.append(label)
        self.steps[label] = total
        return len(self.labels)

    def advance(self, handle: int, note: str) -> None:
        self.steps[self.labels[handle - 1]] -= 1

    def finish(self, handle: int) -> None:
        self.finished.append(handle)


def start(name: str, scope: Sequence[str]) -> tuple[Watched, Watched, list[str]]:
    base = Watched(base_state())
    tuned = Watched(tuned_states(base_state(), 1)[0])
    info = method(name)
    parameters, models = validate_parameters(info, {}, [{}])
    names = [key for key, _ in merge_static(base, [tuned], info, parameters, models, scope)]
    return base, tuned, names


def test_every_tensor_comes_once_in_the_bases_order() -> None:
    base, _, names = start("task_arithmetic", ["embed.weight", "logit_scale"])
    assert names == list(base.tensors)


@pytest.mark.parametrize("name", ["average", "task_arithmetic", "ties"])
def test_contributions_are_read_in_the_scope_only(name: str) -> None:
    _, tuned, _ = start(name, ["embed.weight", "logit_scale"])
    assert set(tuned.reads) == {"embed.weight", "logit_scale"}


def test_tensors_are_read_when_they_are_asked_for() -> None:
    base = Watched(base_state())
    tuned = Watched(tuned_states(base_state(), 1)[0])
    info = method("task_arithmetic")
    parameters, models = validate_parameters(info, {}, [{}])
    merged = merge_static(base, [tuned], info, parameters, models, list(base.tensors)[:3])
    assert tuned.reads == []
    next(merged)
    assert tuned.reads == [next(iter(base.tensors))]


def test_ties_reads_each_task_vector_three_times() -> None:
    _, tuned, _ = start("ties", ["embed.weight"])
    assert tuned.reads == ["embed.weight"] * 3


def test_adaptive_methods_are_refused() -> None:
    info = replace(method("average"), kind="adaptive")
    with pytest.raises(UnsupportedError, match="average: needs unlabelled images"):
        merge_static(InMemory({}), [], info, info.parameters(), [], [])


def test_progress_is_reported_to_the_end() -> None:
    listener = Listener()
    with listen(listener):
        start("ties", ["embed.weight"])
    assert listener.labels == ["ranking magnitudes, coarse", "ranking magnitudes, fine", "merging"]
    assert set(listener.steps.values()) == {0}
    assert listener.finished == [1, 2, 3]


def test_example_in_the_docstring() -> None:
    assert doctest.testmod(stream).failed == 0
