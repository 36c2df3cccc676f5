"""Where an adaptive merge keeps what it has learnt, beside the output that it will write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mergeward.checkpoint.state import read_state, remove_state, write_state
from mergeward.compute import thread_count
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.learning import Saved
from mergeward.processes import process_count
from mergeward.provenance import package_version

STATE = "learning.safetensors"
SECONDS = 180.0
"""How often a state is kept, unless a merge is told otherwise."""


class StateFile:
    """The latest state in a file; see `merge.adaptive.learning.Store`.

    Args:
        folder: Where the file is.
        seconds: Least time from one state to the next; 0 keeps one after every step.
        name: Name of the file.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS, name: str = STATE) -> None:
        self._path = folder / name
        self._seconds = seconds
        self._last = time.monotonic()

    def load(self) -> Saved | None:
        """Return what an interrupted run kept, if anything.

        Raises:
            OutputError: The file is damaged.
        """
        found = read_state(self._path)
        return None if found is None else Saved(*found)

    def due(self) -> bool:
        """Tell whether the last state is old enough."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, saved: Saved) -> None:
        """Keep a state in place of the last one."""
        write_state(self._path, saved.tensors, saved.notes)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Drop the state: the merge has ended."""
        remove_state(self._path)


def learning_identity(tasks: Sequence[UnlabelledTask]) -> str:
    """Return what decides the bits of a learning beside the recipe and the models.

    That is every image and every head, the numbers of threads and processes, and the versions of what
    computes.
    """
    numbers = f"{package_version()} {torch.__version__} {thread_count()} {process_count()}"
    return f"{numbers} {images_digest(tasks)}"


def learning_setting(tasks: Sequence[UnlabelledTask]) -> dict[str, object]:
    """Return what a provenance record says of it: which images, and how many threads and processes."""
    processes = {"processes": process_count()} if process_count() > 1 else {}
    return {"images_sha256": images_digest(tasks), "threads": thread_count(), **processes}


def images_digest(tasks: Sequence[UnlabelledTask]) -> str:
    """Return the SHA-256 of the images and heads of tasks."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(f"\0{task.name}\0{list(task.images.shape)}\0{list(task.head.shape)}\0".encode())
        digest.update(task.images.contiguous().numpy().data)
        digest.update(task.head.contiguous().numpy().data)
    return digest.hexdigest()
