"""Opening what a job names: a base, a task, and the two prepared for each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mergeward.tasks import Task, load_task
from mergeward.testbed import base_path
from mergeward.train import TrainingData
from mergeward.vision import Clip, load_clip, prepare


def open_base(name: str | Path) -> Clip:
    """Load a base: `embedded`, a Hugging Face directory, or a hub id."""
    return load_clip(base_path(name))


def open_task(spec: str | Path, data: str | Path | None, seed: int) -> Task:
    """Load a task by embedded name, name within the folder `data`, path, or `hf:` id."""
    return load_task(spec, data=None if data is None else Path(data), seed=seed)


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

    def training_data(self) -> TrainingData:
        """The train split with the head."""
        return TrainingData(self.pixels("train"), self.labels("train"), self.head)
