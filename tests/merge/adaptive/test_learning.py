from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeward.errors import MergewardError
from mergeward.merge.adaptive.learning import GeneratorState, Learning, Saved, settled
from mergeward.merge.adaptive.optimizer import Adam


class Memory:
    """Keeps every state; due after every step."""

    def __init__(self, saved: Saved | None = None) -> None:
        self.saved = saved
        self.kept: list[Saved] = []

    def load(self) -> Saved | None:
        return self.saved

    def due(self) -> bool:
        return True

    def save(self, saved: Saved) -> None:
        self.kept.append(Saved({k: v.clone() for k, v in saved.tensors.items()}, _copy(saved.notes)))


def _copy(notes):
    return {
        kind: {k: list(v) if isinstance(v, list) else v for k, v in of.items()} for kind, of in notes.items()
    }


class Walk:
    """A point that Adam moves by random slopes: everything that a part can be."""

    def __init__(self) -> None:
        self.point = torch.ones(3)
        self.optimizer = Adam(self.point, lr=0.1)

    def step(self, slope: torch.Tensor) -> torch.Tensor:
        self.optimizer.begin()
        self.optimizer.update((0, 3), slope)
        return self.point.abs().sum()

    def state_dict(self):
        return {"point": self.point, **self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.point.copy_(state["point"])
        self.optimizer.load_state_dict(state)


def walked(store: Memory, **options):
    learning, walk, generator = Learning(store, **options), Walk(), torch.Generator().manual_seed(0)
    learning.add(walk=walk, noise=GeneratorState(generator))
    seen = []
    learning.remember("start", lambda: 1)
    for stage, count in (("first", 4), ("second", 3)):
        for step in learning.steps(stage, count, paced=[walk.optimizer]):
            seen.append((stage, step))
            learning.record({stage: walk.step(torch.randn(3, generator=generator))})
        learning.remember(f"after {stage}", lambda: float(walk.point.sum()))
    return walk.point, seen, learning


@pytest.mark.parametrize("options", [{}, {"step_sizes": "cosine"}, {"patience": 1, "gain": 0.9}])
def test_going_on_from_any_state_ends_at_the_same_bits(options):
    store = Memory()
    point, seen, whole = walked(store, **options)
    assert len(store.kept) == len(seen)
    for number, state in enumerate(store.kept, 1):
        found, rest, resumed = walked(Memory(state), **options)
        assert torch.equal(found, point)
        assert rest == seen[number:]
        assert resumed.losses == whole.losses
        assert resumed._remembered == whole._remembered


def test_a_figure_is_computed_once():
    learning = Learning(Memory(Saved({}, {"remembered": {"old": 7}})))
    assert learning.remember("old", lambda: pytest.fail("was kept")) == 7
    assert [learning.remember("new", iter([1, 2]).__next__) for _ in range(2)] == [1, 1]


def test_cosine_step_sizes_fall_from_whole_to_nothing():
    learning, walk = Learning(step_sizes="cosine"), Walk()
    paces = []
    for _ in learning.steps("only", 4, paced=[walk.optimizer]):
        paces.append(walk.optimizer.pace)
        learning.record({"loss": torch.tensor(1.0)})
    assert paces == pytest.approx([1, 0.8535534, 0.5, 0.1464466])


def test_a_stage_ends_when_its_loss_has_settled():
    learning = Learning(patience=3, gain=0.01)
    for step in learning.steps("only", 100):
        learning.record({"loss": torch.tensor(max(1.0, 10.0 - step))})
    assert len(learning.losses["loss"]) == 15  # 9 steps down, and the first two windows without a fall


def test_the_total_decides_when_it_is_given():
    learning = Learning(patience=2, gain=0.01)
    for step in learning.steps("only", 50):
        learning.record({"loss": torch.tensor(1.0)}, total=torch.tensor(float(100 - step)))
    assert len(learning.losses["loss"]) == 50 - 50 % 2


@settings(max_examples=50)
@given(st.lists(st.floats(0.1, 10), max_size=30), st.integers(1, 6), st.floats(0, 0.5))
def test_settled_compares_the_means_of_two_windows(losses, patience, gain):
    found = settled(losses, patience, gain)
    if len(losses) < 2 * patience or len(losses) % patience:
        assert not found
        return
    last, former = losses[-patience:], losses[-2 * patience : -patience]
    fall = 1 - (sum(last) / patience) / (sum(former) / patience)
    if abs(fall - gain) > 1e-9:
        assert found == (fall < gain)
    assert not settled(losses, None, gain)


def test_a_loss_that_is_not_finite_names_stage_and_step():
    learning = Learning()
    steps = learning.steps("only", 3)
    next(steps)
    learning.record({"loss": torch.tensor(1.0)})
    next(steps)
    with pytest.raises(MergewardError, match="only: the loss became inf at step 2"):
        learning.record({"loss": torch.tensor(float("inf"))})
