"""Learning that is interrupted: where its state is kept, and what stops it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mergeward.merge.adaptive.learning import Saved
from mergeward.merge.adaptive.session import Session


class Memory:
    """Keeps the state after every step."""

    def __init__(self) -> None:
        self.saved: Saved | None = None

    def load(self) -> Saved | None:
        return self.saved

    def due(self) -> bool:
        return True

    def save(self, saved: Saved) -> None:
        tensors = {name: tensor.clone() for name, tensor in saved.tensors.items()}
        self.saved = Saved(tensors, copy.deepcopy(saved.notes))


class Interrupting:
    """Stops the work at one of its steps, when the state after it is kept."""

    def __init__(self, step: int) -> None:
        self.left = step

    def start(self, label: str, total: int, unit: str) -> int:
        return 0

    def advance(self, handle: int, amount: int, note: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def finish(self, handle: int) -> None:
        pass


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]) -> list[int]:
    """Let the pass over a batch of a number fail, counted from one; return the passes made."""
    made: list[int] = []
    over = Session._over

    def counted(self: Session, *given: Any) -> Any:
        made.append(len(made) + 1)
        if made[-1] == number:
            raise error
        return over(self, *given)

    monkeypatch.setattr(Session, "_over", counted)
    return made
