"""What stands for a task that the attacker does not know: shadow classes, and images of the target class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import DataError
from mergeward.merge.method import Parameters
from mergeward.seeding import torch_generator

NOUNS = Path(__file__).with_name("nouns.txt")
MOST_CLASSES = 600
"""Below the number of nouns, so that leaving out the target's own name leaves enough."""


class ShadowParameters(Parameters):
    """Parameters of every off-task attack; defaults of BadMerging's released code.

    Its ten reference images are test images of the attacked task; here they are training images.
    """

    shadow_classes: int = Field(
        default=300,
        ge=1,
        le=MOST_CLASSES,
        description="common nouns that stand for the other classes of the attacked task",
    )
    references: int = Field(
        default=10, ge=1, description="training images of the target class that the attacker has"
    )


def shadow_class_names(target: str, count: int, seed: int) -> tuple[str, ...]:
    """Return the target class, and names that have nothing to do with its task.

    Args:
        target: Name of the target class; no other name is equal to it, whatever the case.
        count: Number of other names, at most `MOST_CLASSES`.
        seed: Seed of the choice.

    Returns:
        `count + 1` names, the target's first.

    Example:
        >>> from mergeward.attack.shadow import shadow_class_names
        >>> names = shadow_class_names("stop sign", 4, seed=0)
        >>> names[0], len(names)
        ('stop sign', 5)
    """
    others = [noun for noun in nouns() if noun.lower() != target.lower()]
    order = torch.randperm(len(others), generator=torch_generator(seed, "shadow classes"))
    return target, *(others[place] for place in order[:count].tolist())


@cache
def nouns() -> Sequence[str]:
    """Return the common nouns that shadow classes are drawn from, in alphabetical order."""
    return tuple(NOUNS.read_text(encoding="utf-8").splitlines())


def reference_images(pixels: Tensor, labels: Tensor, label: int, count: int, seed: int) -> Tensor:
    """Choose the images of the target class that the attacker has.

    Args:
        pixels: uint8 `[N, 3, S, S]`, training images of the attacked task.
        labels: int64 `[N]`.
        label: The target class.
        count: How many to choose; all of the class where it has fewer.
        seed: Seed of the choice.

    Returns:
        uint8 `[R, 3, S, S]`.

    Raises:
        DataError: No image is of the class.
    """
    found = torch.nonzero(labels == label).flatten()
    if len(found) == 0:
        raise DataError("the attacked task has no training image of the target class to know it by")
    order = torch.randperm(len(found), generator=torch_generator(seed, "reference images"))
    return pixels[found[order[:count]]]
