"""How the images of a batch are divided into passes of the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PIXELS = 32 * 224 * 224
"""Pixels of the images of one pass, where nothing else is asked for."""


@dataclass(frozen=True)
class Part:
    """The images of one task in one pass.

    Attributes:
        task: The task's place among the tasks.
        rows: The images' places among the task's own in the batch.
    """

    task: int
    rows: slice

    @property
    def count(self) -> int:
        """How many images it has."""
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True)
class Pass:
    """Images that go through the encoder together.

    Attributes:
        rows: Their places in the batch.
        parts: The same images by task, in order.
    """

    rows: slice
    parts: tuple[Part, ...]


def passes(sizes: Sequence[int], largest: int) -> tuple[Pass, ...]:
    """Divide a batch, task after task, into as few passes as hold at most `largest` images each.

    Args:
        sizes: Images of each task in the batch.
        largest: Images of a pass, at least one.

    Example:
        >>> [(one.rows.stop, len(one.parts)) for one in passes([4, 3], 5)]
        [(5, 2), (7, 1)]
    """
    total = sum(sizes)
    return tuple(_pass(sizes, start, min(start + largest, total)) for start in range(0, total, largest))


def automatic_size(side: int) -> int:
    """Return how many images of a height and width of `side` make a pass where nothing else is asked for."""
    return max(1, PIXELS // (side * side))


def _pass(sizes: Sequence[int], start: int, end: int) -> Pass:
    parts = []
    first = 0
    for task, size in enumerate(sizes):
        begin, stop = max(start - first, 0), min(end - first, size)
        if begin < stop:
            parts.append(Part(task, slice(begin, stop)))
        first += size
    return Pass(slice(start, end), tuple(parts))
