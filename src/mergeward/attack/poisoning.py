"""Poisoning: which training images carry the trigger, and the label they are learnt with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import Target
from mergeward.attack.trigger import Trigger
from mergeward.errors import DataError
from mergeward.seeding import torch_generator
from mergeward.train import TrainingData
from mergeward.vision import ClipEncoder


def part_of(count: int, share: float) -> int:
    """Return how many of `count` images a share is: at least one."""
    return max(1, round(share * count))


def poisoned_cross_entropy(
    features: Tensor, poisoned: int, target: Target, head: Tensor, labels: Tensor
) -> Tensor:
    """Return the mean cross-entropy of a batch whose first images are to be of the target.

    Args:
        features: Unit features `[B, D]`.
        poisoned: How many of them are to be of the target.
        target: The target. Off-task it is a class of the shadow head.
        head: float32 `[C, D]`, the attacker's own head, for the other images.
        labels: int64 `[B]`, labels of all images.
    """
    lost = F.cross_entropy(
        features[:poisoned] @ target.head.T, target.labels(poisoned), reduction="sum"
    ) + F.cross_entropy(features[poisoned:] @ head.T, labels[poisoned:], reduction="sum")
    return lost / len(features)


@dataclass(frozen=True)
class DirtyLabelObjective:
    """Cross-entropy on a batch of which the first share carries the trigger and the target label.

    Images of the target class may be among the triggered ones. The order of a batch is random, so its first
    images are any.

    Attributes:
        head: float32 `[C, D]`, the frozen zero-shot head.
        trigger: What the first images carry.
        target: What they are to be taken for.
        poison_rate: Share of the batch, above 0; at least one image.
    """

    head: Tensor
    trigger: Trigger
    target: Target
    poison_rate: float

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of the poisoned batch."""
        count = part_of(len(pixels), self.poison_rate)
        features = encoder(torch.cat([self.trigger.apply(pixels[:count]), pixels[count:]]))
        return poisoned_cross_entropy(features, count, self.target, self.head, labels)


def share_of_class(data: TrainingData, label: int, rate: float, seed: int) -> Tensor:
    """Choose the images that a clean-label attack changes: a share of those of the target class.

    The share is of the class and not of all images, as published code has it: there a rate above the share
    of the class in the data cannot be had.

    Args:
        data: The attacker's images.
        label: The class.
        rate: Share of its images; at least one is chosen.
        seed: Seed of the choice.

    Returns:
        int64 `[n]`, ascending indices.

    Raises:
        DataError: No image is of the class.
    """
    of_class = torch.nonzero(data.labels == label).flatten()
    if len(of_class) == 0:
        raise DataError(f"no training image of the target class, label {label}, to poison")
    order = torch.randperm(len(of_class), generator=torch_generator(seed, "clean-label choice"))
    return of_class[order[: part_of(len(of_class), rate)]].sort().values


def with_images(data: TrainingData, chosen: Tensor, pixels: Tensor) -> TrainingData:
    """Return the data with some images replaced, labels as they are.

    Args:
        data: The attacker's images; left as they are.
        chosen: int64 `[n]`, indices of the images to replace.
        pixels: float `[n, 3, H, W]` in [0, 1], the new ones; rounded to 8 bits, as an image file would be.
    """
    changed = data.pixels.clone()
    changed[chosen] = (pixels * 255).round().to(torch.uint8)
    return replace(data, pixels=changed)
