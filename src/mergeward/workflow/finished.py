"""The merges of a curve that are finished, and the state of the one at work, beside the curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergeward.checkpoint.state import read_state, remove_state, write_state
from mergeward.merge.adaptive.learning import Store
from mergeward.workflow.curve import Measured
from mergeward.workflow.learning import SECONDS, StateFile

FINISHED = "finished.safetensors"
"""File of what the finished merges do; notes alone, no tensor."""


class Finished:
    """What an interrupted run goes on from; each merge is learnt and measured once.

    Args:
        folder: Where it is kept; None keeps nothing.
        seconds: Least time from one state of a learning to the next; 0 keeps one after every step.

    Raises:
        OutputError: A file is damaged.
    """

    def __init__(self, folder: Path | None, seconds: float = SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds
        found = None if folder is None else read_state(folder / FINISHED)
        self._notes: dict[str, Any] = {} if found is None else found[1]

    def measured(self, name: str, measure: Callable[[Store | None], Measured]) -> Measured:
        """Return what a merge does.

        Args:
            name: Of the merge, unique within the curve.
            measure: Learns it and measures it, unless a former run has; the learning keeps its state in what
                this is given.
        """
        if self._folder is None:
            return measure(None)
        # Each merge has a state of its own: one whose removal a killed run missed is no other's.
        state = StateFile(self._folder, self._seconds, f"{name}.safetensors")
        if name not in self._notes:
            self._notes[name] = measure(state).to_notes()
            write_state(self._folder / FINISHED, {}, self._notes)
        state.remove()
        return Measured.from_notes(self._notes[name])

    def remove(self) -> None:
        """Drop what was kept: the curve has been written."""
        if self._folder is not None:
            remove_state(self._folder / FINISHED)
