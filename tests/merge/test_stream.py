"""The streaming of static merges, apart from what each method computes."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from mergeward.checkpoint import InMemory, whole_tensors
from mergeward.errors import UnsupportedError
from mergeward.merge import StaticProblem, merge_static, method, schedule, stream
from mergeward.progress import listen
from toy_models import base_state, tuned_states


class Watched(InMemory):
    """Notes which tensors are read."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__(tensors)
        self.reads: list[str] = []

    def view(self, name: str) -> torch.Tensor:
        self.reads.append(name)
        return super().view(name)


class Listener:
    """Notes what is reported."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self.labels: list[str] = []
        self.finished: list[int] = []

    def start(self, label: str, total: int, unit: str) -> int:
        assert unit == "bytes"
        self.labels.append(label)
        self.steps[label] = total
        return len(self.labels)

    def advance(self, handle: int, amount: int, note: str) -> None:
        self.steps[self.labels[handle - 1]] -= amount

    def finish(self, handle: int) -> None:
        self.finished.append(handle)


Started = tuple[Watched, Watched, list[str]]


def start(name: str, scope: Sequence[str], done: Sequence[str] = ()) -> Started:
    base = Watched(base_state())
    tuned = Watched(tuned_states(base_state(), 1)[0])
    info = method(name)
    problem = StaticProblem(base, [tuned], scope, ["tuned"])
    pieces = merge_static(problem, info, schedule(info, {}, [{}]), done=done)
    return base, tuned, [key for key, _ in whole_tensors(base, pieces)]


def test_every_tensor_comes_once_in_the_bases_order() -> None:
    base, _, names = start("task_arithmetic", ["embed.weight", "logit_scale"])
    assert names == list(base.tensors)


@pytest.mark.parametrize("name", ["average", "task_arithmetic", "ties"])
def test_contributions_are_read_in_the_scope_only(name: str) -> None:
    _, tuned, _ = start(name, ["embed.weight", "logit_scale"])
    assert set(tuned.reads) == {"embed.weight", "logit_scale"}


def test_tensors_are_read_when_they_are_asked_for() -> None:
    base = Watched({str(index): torch.zeros(3) for index in range(20)})
    info = method("task_arithmetic")
    problem = StaticProblem(base, [], [], [])
    pieces = merge_static(problem, info, schedule(info, {}, [{}]))
    assert base.reads == []
    next(pieces)
    assert len(base.reads) < 6


def test_what_is_done_is_neither_read_nor_given_again() -> None:
    base, tuned, names = start("average", ["embed.weight", "norm.weight"], done=["embed.weight", "unused"])
    assert names == [name for name in base.tensors if name not in {"embed.weight", "unused"}]
    assert tuned.reads == ["norm.weight"]


def test_a_large_tensor_comes_in_pieces_that_follow_each_other() -> None:
    base = InMemory(base_state())
    info = method("average")
    tuned = InMemory(tuned_states(base_state(), 1)[0])
    problem = StaticProblem(base, [tuned], ["block.10.weight"], ["tuned"])
    pieces = [
        piece
        for piece in merge_static(problem, info, schedule(info, {}, [{}]))
        if piece.name == "block.10.weight"
    ]
    assert len(pieces) > 1
    ends = [piece.start + piece.values.numel() for piece in pieces]
    assert [piece.start for piece in pieces] == [0, *ends[:-1]]
    assert ends[-1] == base.tensors["block.10.weight"].numel


def test_ties_reads_each_task_vector_three_times() -> None:
    _, tuned, _ = start("ties", ["embed.weight"])
    assert tuned.reads == ["embed.weight"] * 3


def test_adaptive_methods_are_refused() -> None:
    info = replace(method("average"), kind="adaptive")
    with pytest.raises(UnsupportedError, match="average: needs unlabelled images"):
        merge_static(StaticProblem(InMemory({}), [], [], []), info, schedule(method("average"), {}, [{}]))


def test_progress_is_reported_to_the_end() -> None:
    listener = Listener()
    with listen(listener):
        start("ties", ["embed.weight"])
    assert listener.labels == ["sampling magnitudes", "ranking magnitudes", "merging"]
    assert set(listener.steps.values()) == {0}
    assert listener.finished == [1, 2, 3]


def test_example_in_the_docstring() -> None:
    assert doctest.testmod(stream).failed == 0
