"""How long work tells what it has done, without knowing who listens.

Library code wraps its loops in `track`. Nothing is shown unless a listener is installed with `listen`,
which the command line does when it talks to a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Listener(Protocol):
    """Receives the start, the steps and the end of each piece of long work."""

    def start(self, label: str, total: int) -> int:
        """Begin a piece of work of `total` steps; return a handle for it."""

    def advance(self, handle: int, note: str) -> None:
        """One more step is done; `note` holds figures worth showing ("loss 0.41"), or nothing."""

    def finish(self, handle: int) -> None:
        """The work is over, whether complete or not."""


_listener: ContextVar[Listener | None] = ContextVar("mergeward_progress_listener", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send the progress of everything inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class track(Iterable[Item]):  # noqa: N801 - reads as a verb where it is used, like tqdm
    """Iterate over `items` and report every step.

    Args:
        items: What to iterate over; its length is the number of steps.
        label: What the work is, in a few words.

    Example:
        >>> steps = track(range(3), "counting")
        >>> [step for step in steps]
        [0, 1, 2]
    """

    def __init__(self, items: Sequence[Item], label: str) -> None:
        self._items = items
        self._label = label
        self.note = ""

    def __iter__(self) -> Iterator[Item]:
        listener = _listener.get()
        if listener is None:
            yield from self._items
            return
        handle = listener.start(self._label, len(self._items))
        try:
            for item in self._items:
                yield item
                listener.advance(handle, self.note)
        finally:
            listener.finish(handle)
