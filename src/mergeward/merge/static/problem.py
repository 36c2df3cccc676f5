"""What a static method works on: a base and its contributions, one part of a tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mergeward.checkpoint.source import TensorSource, finite, is_finite
from mergeward.compute import in_order
from mergeward.progress import track
from mergeward.seeding import numpy_generator

BLOCK = 1 << 18
"""Values in one part of a tensor that is merged element by element: a few such parts fit a core's cache.

Random draws are seeded for each block, so this number is part of the bits of the methods that draw.
"""

BATCH = 8
"""Parts that a thread takes at a time: handing over costs as much as a short one."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """A whole tensor, or a run of the values of one, of the base and of every contribution.

    Attributes:
        name: The tensor's name.
        start: Where the run begins among the tensor's values; 0 for a whole tensor.
        shape: Shape of the values: the tensor's own, or `[n]` for a run.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    _views: Sequence[Tensor] = field(repr=False)
    _problem: StaticProblem = field(repr=False)

    def stored(self) -> Tensor:
        """Return the base's values as they are stored; they may share memory with it.

        Raises:
            CheckpointError: They hold NaN or infinity.
        """
        return finite(self._views[0], name=self.name, where=self._problem.base.name)

    def base(self) -> Tensor:
        """Return the base's values as a fresh float32 tensor that the caller may overwrite.

        Raises:
            CheckpointError: They hold NaN or infinity.
        """
        return self._fresh(self._views[0], self._problem.base)

    def contribution(self, index: int) -> Tensor:
        """Return a contribution's values as a fresh float32 tensor that the caller may overwrite.

        Raises:
            CheckpointError: They hold NaN or infinity.
        """
        return self._fresh(self._views[1 + index], self._problem.contributions[index])

    def task_vector(self, index: int, base: Tensor) -> Tensor:
        """Return a contribution's values less `base` as a fresh float32 tensor.

        Args:
            index: Which contribution.
            base: The base's values, as `base()` gives them.

        Raises:
            CheckpointError: The contribution's values hold NaN or infinity.
        """
        view = self._views[1 + index]
        values = torch.sub(view.to(self._problem.device), base)
        if not is_finite(values):
            finite(view, name=self.name, where=self._problem.contributions[index].name)
        return values

    def task_vectors(self, base: Tensor) -> Iterator[Tensor]:
        """Yield the task vector of each contribution in turn, each as `task_vector` gives it."""
        return (self.task_vector(index, base) for index in range(len(self._views) - 1))

    def head(self, count: int) -> Part:
        """Return the first `count` of a run's values as a part of their own."""
        return self._run(0, count)

    def rows(self) -> Iterator[Part]:
        """Yield a whole tensor as runs of rows, each of shape `[rows, width]`.

        A row holds the values along the last dimension; a tensor without dimensions is one row. A run has as
        many rows as fit in a block, at least one.
        """
        width = max(self.shape[-1] if self.shape else 1, 1)
        step = max(BLOCK // width, 1) * width
        for start in range(0, math.prod(self.shape), step):
            yield self._run(start, start + step, width)

    def generator(self, purpose: str, index: int) -> np.random.Generator:
        """Return the random numbers of one purpose, for this part of one contribution.

        They depend on the merge's seed, the purpose, the names of contribution and tensor, and the place.
        """
        problem = self._problem
        return numpy_generator(problem.seed, purpose, problem.names[index], self.name, self.start)

    def _run(self, start: int, stop: int, width: int | None = None) -> Part:
        views = [view.reshape(-1)[start:stop] for view in self._views]
        if width is not None:
            views = [view.reshape(-1, width) for view in views]
        return Part(self.name, self.start + start, tuple(views[0].shape), views, self._problem)

    def _fresh(self, view: Tensor, source: TensorSource) -> Tensor:
        values = view.to(self._problem.device, torch.float32, copy=True)
        return finite(values, name=self.name, where=source.name)


@dataclass(frozen=True)
class StaticProblem:
    """A base, its contributions, and the tensors that take part.

    Attributes:
        base: The pretrained model.
        contributions: Its fine-tunes, with the base's shapes over the scope.
        scope: Names of the tensors that take part, in file order.
        names: A distinct name for each contribution; random draws depend on it and not on the order.
        seed: Seed of everything random.
        device: Where the arithmetic is done.
    """

    base: TensorSource
    contributions: Sequence[TensorSource]
    scope: Sequence[str]
    names: Sequence[str]
    seed: int = 0
    device: torch.device = field(default=torch.device("cpu"))

    def map(self, function: Callable[[Part], Result], label: str, *, whole: bool = False) -> Iterator[Result]:
        """Yield what a function makes of each part of the scope, in order, computed on several threads.

        Args:
            function: Called with a part; calls overlap, so it must not change anything shared.
            label: Name of the work in progress displays.
            whole: Whether a part is a whole tensor; otherwise tensors are cut into blocks.
        """
        names = track(self.scope, label, nbytes=self.nbytes)
        batches = (batch for name in names for batch in self.batches(name, whole=whole))
        return chain.from_iterable(in_order(lambda batch: [function(part) for part in batch], batches))

    def nbytes(self, name: str) -> int:
        """Return how many bytes are read to merge one tensor."""
        taking_part = self.contributions if name in self._in_scope else ()
        return sum(source.tensors[name].nbytes for source in (self.base, *taking_part))

    @cached_property
    def _in_scope(self) -> frozenset[str]:
        return frozenset(self.scope)

    def batches(self, name: str, *, whole: bool = False) -> Iterator[list[Part]]:
        """Yield the parts of one tensor as `parts` does, as many together as make a thread's while."""
        parts = self.parts(name, whole=whole)
        while batch := list(islice(parts, BATCH)):
            yield batch

    def parts(self, name: str, *, whole: bool = False) -> Iterator[Part]:
        """Yield the parts of one tensor in order; of one outside the scope, with the base's values only.

        Args:
            name: A tensor of the base.
            whole: Whether the whole tensor is one part.
        """
        taking_part = self.contributions if name in self._in_scope else ()
        views = [source.view(name) for source in (self.base, *taking_part)]
        if whole:
            yield Part(name, 0, tuple(views[0].shape), views, self)
            return
        flat = [view.reshape(-1) for view in views]
        for start in range(0, max(flat[0].numel(), 1), BLOCK):
            runs = [view[start : start + BLOCK] for view in flat]
            yield Part(name, start, tuple(runs[0].shape), runs, self)


@dataclass(frozen=True)
class StaticMerge:
    """A static method, ready to merge one part after another.

    Attributes:
        merged: Maps a part to its merged values, float32 of the part's shape. Calls overlap: it must not
            change anything shared.
        whole: Whether it needs whole tensors; otherwise it is called with blocks of one.
    """

    merged: Callable[[Part], Tensor]
    whole: bool = False
