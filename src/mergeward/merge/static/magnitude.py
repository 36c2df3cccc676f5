"""Exact order statistics of magnitudes that are too many to hold in memory.

The magnitude of a float32 is ordered as the whole number that its bits spell (sign bit cleared). A small
sample gives a bracket that very likely holds the wanted one; one pass counts what lies below the bracket and
each number within. Where the bracket misses, or is too wide to count each number, a further pass narrows it:
the sample decides how many passes there are and never what they find.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mergeward.merge.static.problem import Part, StaticProblem

Bits: TypeAlias = NDArray[np.int32]
Values: TypeAlias = Callable[[Part, Iterable[int]], Iterable[Tensor]]
Result = TypeVar("Result")

BINS = 1 << 20
"""The most numbers, or equal runs of numbers, that one pass tells apart."""
END = 0x7F80_0000
"""The bits of infinity, above those of every finite magnitude."""
SAMPLE = range(1 << 16, 1 << 20)
"""How many magnitudes a sample holds at least, where there are as many, and at most; between, one in 64."""


class Passes(Protocol):
    """Makes a pass: yields what a function makes of each part, in order."""

    def __call__(self, function: Callable[[Part], Result], label: str, /) -> Iterable[Result]:
        """Begin a pass; the label names it in progress displays."""


class Found(NamedTuple):
    """An order statistic.

    Attributes:
        value: The magnitude.
        below: How many are smaller.
        equal: How many are the same.
    """

    value: float
    below: int
    equal: int


@dataclass(frozen=True)
class _Bracket:
    """Numbers from `start` to before `stop`, in runs of 2**`shift`, and how many magnitudes a run holds."""

    start: int
    stop: int
    below: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def shift(self) -> int:
        return max((self.stop - self.start - 1).bit_length() - (BINS.bit_length() - 1), 0)

    @property
    def emptied(self) -> _Bracket:
        runs = ((self.stop - self.start - 1) >> self.shift) + 1
        return replace(self, below=0, counts=np.zeros(runs, np.int64))

    def narrowed(self, rank: int) -> _Bracket | Found:
        """Return the order statistic if the counts show it, else a bracket that holds it."""
        if rank <= self.below:
            return _Bracket(0, self.start)
        cumulative = self.below + np.cumsum(self.counts)
        if rank > cumulative[-1]:
            return _Bracket(self.stop, END)
        run = int(np.searchsorted(cumulative, rank))
        start = self.start + (run << self.shift)
        if self.shift:
            return _Bracket(start, min(start + (1 << self.shift), self.stop))
        equal = int(self.counts[run])
        return Found(value_of(start), int(cumulative[run]) - equal, equal)


def bits_of(values: Tensor) -> Bits:
    """Return the bits of the magnitudes of float32 values, flat."""
    bits: Bits = values.abs().reshape(-1).cpu().numpy().view(np.int32)
    return bits


def value_of(bits: int) -> float:
    """Return the float32 of these bits."""
    return float(np.int32(bits).view(np.float32))


def kth_magnitudes(problem: StaticProblem, ranks: Mapping[int, int]) -> dict[int, Found]:
    """Return the k-th smallest magnitude of task vectors over the whole scope, exactly.

    Args:
        problem: The base, its contributions and the scope.
        ranks: k by contribution, counted from 1, as in `torch.kthvalue`.

    Returns:
        The magnitude by contribution. It costs one pass over those task vectors, or a few.
    """
    sizes = [problem.base.tensors[name].numel for name in problem.scope]
    return select(problem.map, sum(sizes), ranks)


def task_vectors_of(part: Part, indices: Iterable[int]) -> Iterator[Tensor]:
    """Yield the task vectors of some contributions."""
    base = part.base()
    return (part.task_vector(index, base) for index in indices)


def select(
    passes: Passes, size: int, ranks: Mapping[int, int], values: Values = task_vectors_of
) -> dict[int, Found]:
    """Return the k-th smallest magnitude of values over some parts.

    Args:
        passes: Makes a pass over the parts.
        size: How many values they hold together.
        ranks: k by contribution, counted from 1.
        values: Given a part and contributions, yields the values of each in turn; by default task vectors.
    """
    found: dict[int, Found] = {}
    if not ranks:
        return found
    open_brackets = _guesses(passes, size, ranks, values)
    while open_brackets:
        counted = _counted(passes, open_brackets, values)
        open_brackets = {}
        for index, bracket in counted.items():
            result = bracket.narrowed(ranks[index])
            if isinstance(result, Found):
                found[index] = result
            else:
                open_brackets[index] = result
    return found


def _guesses(passes: Passes, size: int, ranks: Mapping[int, int], values: Values) -> dict[int, _Bracket]:
    every = max(min(size // SAMPLE.start, 64), size // SAMPLE.stop, 1)

    def sample(part: Part) -> list[Bits]:
        head = part.head(-(-math.prod(part.shape) // every))
        return [bits_of(own) for own in values(head, ranks)]

    samples = zip(*passes(sample, "sampling magnitudes"), strict=True)
    return {
        index: _guess(np.concatenate(sample), rank, size)
        for (index, rank), sample in zip(ranks.items(), samples, strict=True)
    }


def _guess(sample: Bits, rank: int, size: int) -> _Bracket:
    """Return a bracket about the sample's own order statistic, wide enough to be right mostly."""
    margin = 0 if sample.size == size else 2 * math.isqrt(sample.size) + sample.size // 100
    middle = (rank - 1) * sample.size // size
    low, high = middle - margin, middle + margin
    ordered = np.partition(sample, [place for place in (low, high) if 0 <= place < sample.size])
    start = int(ordered[low]) if low >= 0 else 0
    return _Bracket(start, int(ordered[high]) + 1 if high < sample.size else END)


def _counted(passes: Passes, brackets: Mapping[int, _Bracket], values: Values) -> dict[int, _Bracket]:
    counted = {index: bracket.emptied for index, bracket in brackets.items()}
    count = partial(_count, brackets=counted, values=values)
    for part in passes(count, "ranking magnitudes"):
        for (index, bracket), (below, runs) in zip(list(counted.items()), part, strict=True):
            np.add.at(bracket.counts, runs, 1)
            counted[index] = replace(bracket, below=bracket.below + below)
    return counted


def _count(
    part: Part, brackets: Mapping[int, _Bracket], values: Values
) -> Sequence[tuple[int, NDArray[np.uint32]]]:
    counts = []
    for bracket, own in zip(brackets.values(), values(part, brackets), strict=True):
        bits = bits_of(own)
        # Seen as unsigned, what lies below the bracket is far above it: one comparison finds the inside.
        offset = (bits - np.int32(bracket.start)).view(np.uint32)
        inside = offset[offset < np.uint32(bracket.stop - bracket.start)]
        counts.append((int(np.count_nonzero(bits < bracket.start)), inside >> np.uint32(bracket.shift)))
    return counts
