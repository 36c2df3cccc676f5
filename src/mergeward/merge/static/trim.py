"""Trimming: which magnitudes of a task vector are its largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from mergeward.merge.static.cut import ALL, EVERYWHERE, NONE, Cut, smallest_kept
from mergeward.merge.static.magnitude import bits_of, kth_magnitudes, select
from mergeward.merge.static.problem import Part, StaticProblem

Result = TypeVar("Result")


def scope_cuts(problem: StaticProblem, densities: Sequence[float]) -> list[Cut]:
    """Return for each contribution where the largest magnitudes of its whole task vector begin.

    The threshold is the k-th smallest magnitude over the scope, k = d - int(d * density) for d coordinates,
    as in the code of the authors of TIES; all values at the threshold are among the largest. Density 1 is
    all of them.

    Args:
        problem: The base, its contributions and the scope.
        densities: The share of each contribution, in (0, 1].
    """
    size = sum(problem.base.tensors[name].numel for name in problem.scope)
    ranks = {index: smallest_kept(size, density) for index, density in enumerate(densities)}
    found = kth_magnitudes(problem, {index: rank for index, rank in ranks.items() if rank > 0})
    return [Cut(found[index].value) if index in found else ALL for index in ranks]


def tensor_cuts(problem: StaticProblem, largest: Callable[[str, int], Sequence[int]]) -> dict[str, list[Cut]]:
    """Return where the largest magnitudes of each tensor of each task vector begin.

    Exactly as many values are among the largest as asked for; of values at the threshold, those that come
    first in the tensor.

    Args:
        problem: The base, its contributions and the scope.
        largest: Given a tensor's name and number of values, how many are among the largest, for each
            contribution.

    Returns:
        By tensor, one cut for each contribution. It costs one pass over the task vectors, or a few.
    """

    def cuts(part: Part) -> list[Cut]:
        size = math.prod(part.shape)
        return _cuts(problem, part.name, size, largest(part.name, size))

    return dict(zip(problem.scope, problem.map(cuts, "ranking magnitudes", whole=True), strict=True))


def _cuts(problem: StaticProblem, name: str, size: int, largest: Sequence[int]) -> list[Cut]:
    def passes(function: Callable[[Part], Result], label: str) -> Iterator[Result]:
        return map(function, problem.parts(name))

    ranks = {index: size - count + 1 for index, count in enumerate(largest) if 0 < count < size}
    found = select(passes, size, ranks)
    cuts = [NONE if count == 0 else ALL for count in largest]
    for index, (value, below, equal) in found.items():
        missing = largest[index] - (size - below - equal)
        last = EVERYWHERE if missing == equal else _place(problem.parts(name), index, value, missing)
        cuts[index] = Cut(value, last)
    return cuts


def _place(parts: Iterable[Part], index: int, value: float, count: int) -> int:
    """Return the place of the `count`-th value of this magnitude."""
    wanted = np.float32(value).view(np.int32)
    for part in parts:
        places = np.flatnonzero(bits_of(part.task_vector(index, part.base())) == wanted)
        if count <= places.size:
            return part.start + int(places[count - 1])
        count -= places.size
    raise AssertionError("fewer values at the threshold than were counted")
