"""Opening what a job names: a base, a task, and the two prepared for each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mergeward.checkpoint import Checkpoint, Piece, open_checkpoint
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.tasks import Task, load_task
from mergeward.testbed import base_path
from mergeward.train import TrainingData
from mergeward.vision import Clip, load_clip, prepare


def open_base(name: str | Path) -> Clip:
    """Load a base: `embedded`, a Hugging Face directory, or a hub id."""
    return load_clip(base_path(name))


def open_base_file(name: str | Path) -> Checkpoint:
    """Open a base of any architecture as a file, without building its model."""
    return open_checkpoint(base_path(name))


def open_task(spec: str | Path | Task, data: str | Path | None, seed: int) -> Task:
    """Load a task by embedded name, name within the folder `data`, path, or `hf:` id; a `Task` is itself."""
    if isinstance(spec, Task):
        return spec
    return load_task(spec, data=None if data is None else Path(data), seed=seed)


def with_weights(
    source: Checkpoint,
    weights: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    done: Collection[str] = (),
) -> Iterator[Piece]:
    """Return every tensor of a checkpoint as one piece, in file order, with some in place of its own.

    Args:
        source: The checkpoint.
        weights: What to put in place of its tensors, by name.
        dtype: Type of the floating tensors; by default each has the source's.
        done: Tensors to leave out.
    """
    for name, info in source.tensors.items():
        if name in done:
            continue
        value = weights[name] if name in weights else source.read(name)
        yield Piece(name, 0, value.to(dtype or info.dtype) if info.dtype.is_floating_point else value)


@dataclass(frozen=True)
class PreparedTask:
    """A task as one base sees it.

    Attributes:
        task: The task.
        clip: The base; its preprocessor makes the pixels and its text tower the head.
    """

    task: Task
    clip: Clip

    @cached_property
    def head(self) -> Tensor:
        """float32 `[C, D]`, the zero-shot head."""
        return self.clip.head(self.task.class_names, self.task.templates)

    def pixels(self, split: str) -> Tensor:
        """uint8 `[N, 3, S, S]`, the images of a split."""
        label = f"{self.task.name} {split}"
        return prepare(self.task.split(split).images, self.clip.preprocessor, label)

    def labels(self, split: str) -> Tensor:
        """int64 `[N]`, the labels of a split."""
        return torch.from_numpy(self.task.split(split).labels)

    def unlabelled(self) -> UnlabelledTask:
        """The adapt images without their labels, with the head."""
        return UnlabelledTask(self.task.name, self.pixels("adapt"), self.head)

    def training_data(self) -> TrainingData:
        """The train split with the head."""
        return TrainingData(self.pixels("train"), self.labels("train"), self.head)
