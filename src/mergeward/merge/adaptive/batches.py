"""Seeded batches of unlabelled images, all tasks side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergeward.merge.adaptive.problem import UnlabelledTask
from mergeward.seeding import torch_generator


class Batches:
    """Batch `k` of every task, as a function of `k` alone.

    Each task's images are shuffled once an epoch, by seed, task name and epoch, and dealt in batches; the
    rest that fills no batch sits the epoch out. A task with fewer images than a batch gives all of them.

    Args:
        tasks: Where the images come from.
        batch_size: Images a task and batch.
        seed: Seed of the shuffles.
        dtype: Type of the pixels.
        device: Where the batches are.

    Attributes:
        sizes: Images of each task in every batch, in the order of the tasks.
    """

    def __init__(
        self,
        tasks: Sequence[UnlabelledTask],
        batch_size: int,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._tasks = tasks
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._orders: dict[str, tuple[int, Tensor]] = {}
        self.sizes = tuple(min(batch_size, len(task.images)) for task in tasks)

    def __getitem__(self, index: int) -> Tensor:
        """Return batch `index`: `[sum of sizes, 3, S, S]` in [0, 1], task after task."""
        chosen = [
            task.images[members] for task, members in zip(self._tasks, self.members(index), strict=True)
        ]
        return to_unit(torch.cat(chosen), self._dtype, self._device)

    def members(self, index: int) -> list[Tensor]:
        """Return which of each task's images batch `index` has: int64 `[B_t]` for each task."""
        return [self._members(task, size, index) for task, size in zip(self._tasks, self.sizes, strict=True)]

    def _members(self, task: UnlabelledTask, size: int, index: int) -> Tensor:
        epoch, place = divmod(index, len(task.images) // size)
        cached = self._orders.get(task.name)
        if cached is None or cached[0] != epoch:
            cached = (epoch, shuffled(task, self._seed, epoch))
            self._orders[task.name] = cached
        return cached[1][place * size : (place + 1) * size]


def shuffled(task: UnlabelledTask, seed: int, epoch: int) -> Tensor:
    """Return the order of a task's images in one epoch: int64 `[N]`."""
    generator = torch_generator(seed, "adapt batches", task.name, epoch)
    return torch.randperm(len(task.images), generator=generator)


def sample(task: UnlabelledTask, count: int, seed: int) -> Tensor:
    """Return at most so many of a task's images, chosen by seed, in their own order: uint8 `[n, 3, S, S]`."""
    return task.images[shuffled(task, seed, 0)[:count].sort().values]


def to_unit(images: Tensor, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """Turn uint8 pixels into numbers in [0, 1], on a device."""
    return images.to(device).to(dtype).div_(255)
