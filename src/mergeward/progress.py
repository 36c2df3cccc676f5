"""How long work tells what it has done, without knowing who listens.

Library code wraps its loops in `track`. Nothing is shown unless a listener is installed with `listen`,
which the command line does when it talks to a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol, TypeVar

Item = TypeVar("Item")
Unit = Literal["steps", "bytes"]


class Listener(Protocol):
    """Receives the start, the steps and the end of each piece of long work."""

    def start(self, label: str, total: int, unit: Unit) -> int:
        """Begin a piece of work of `total` steps or bytes; return a handle for it."""

    def advance(self, handle: int, amount: int, note: str) -> None:
        """So much more is done; `note` holds figures worth showing ("loss 0.41"), or nothing."""

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
        nbytes: How many bytes an item stands for, where that tells more of the work than their number.

    Example:
        >>> steps = track(range(3), "counting")
        >>> [step for step in steps]
        [0, 1, 2]
    """

    def __init__(
        self, items: Sequence[Item], label: str, *, nbytes: Callable[[Item], int] | None = None
    ) -> None:
        self._items = items
        self._label = label
        self._nbytes = nbytes
        self.note = ""

    def __iter__(self) -> Iterator[Item]:
        listener = _listener.get()
        if listener is None:
            yield from self._items
            return
        sizes = [1 if self._nbytes is None else self._nbytes(item) for item in self._items]
        handle = listener.start(self._label, sum(sizes), "steps" if self._nbytes is None else "bytes")
        try:
            for item, size in zip(self._items, sizes, strict=True):
                yield item
                listener.advance(handle, size, self.note)
        finally:
            listener.finish(handle)
