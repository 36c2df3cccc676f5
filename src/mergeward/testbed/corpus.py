"""The image-caption pairs that a base is pretrained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.seeding import torch_generator
from mergeward.tasks import Task
from mergeward.vision import Preprocessor, prepare

CAPTION_TEMPLATES = (
    "a photo of a {}.",
    "an image of {}.",
    "a small picture of a {}.",
    "{}",
    "this is a {}.",
    "a low resolution photo of the {}.",
)


@dataclass(frozen=True)
class Corpus:
    """Images, and for each the phrase that its captions are made from.

    Attributes:
        pixels: uint8 `[N, 3, S, S]`.
        phrase_index: int64 `[N]`, into `phrases`.
        phrases: Distinct class names in words. Tasks that share a class name share the phrase.
    """

    pixels: Tensor
    phrase_index: Tensor
    phrases: tuple[str, ...]

    def captions(self) -> list[str]:
        """Return every caption that can occur."""
        return [template.format(phrase) for phrase in self.phrases for template in CAPTION_TEMPLATES]


def build_corpus(tasks: Sequence[Task], preprocessor: Preprocessor) -> Corpus:
    """Join the train splits of several tasks; their adapt, validation and test images are never touched."""
    phrases = tuple(sorted({name for task in tasks for name in task.class_names}))
    position = {phrase: index for index, phrase in enumerate(phrases)}
    pixels, labels = [], []
    for task in tasks:
        split = task.split("train")
        pixels.append(prepare(split.images, preprocessor, task.name))
        own = torch.tensor([position[name] for name in task.class_names])
        labels.append(own[torch.from_numpy(split.labels)])
    return Corpus(torch.cat(pixels), torch.cat(labels), phrases)


def batch_indices(size: int, batch: int, step: int, seed: int) -> Tensor:
    """Return the images of one step; a function of the step alone, so that training can resume anywhere."""
    steps_an_epoch = size // batch
    epoch, place = divmod(step, steps_an_epoch)
    order = torch.randperm(size, generator=torch_generator(seed, "pretrain", "epoch", epoch))
    return order[place * batch : (place + 1) * batch]
