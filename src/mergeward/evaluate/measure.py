"""Accuracy and attack success of an encoder under a frozen head."""

from __future__ import annotations

import torch
from torch import Tensor

from mergeward.attack import Trigger
from mergeward.compute import fixed_threads
from mergeward.errors import DataError
from mergeward.evaluate.rate import Rate
from mergeward.vision import ClipEncoder

BATCH = 250


@torch.inference_mode()
def predict(encoder: ClipEncoder, pixels: Tensor, head: Tensor, trigger: Trigger | None = None) -> Tensor:
    """Return the predicted label of each image.

    Args:
        encoder: Image encoder, in eval mode.
        pixels: uint8 `[N, 3, H, W]`.
        head: float32 `[C, D]`.
        trigger: Every image carries it, if given.

    Returns:
        int64 `[N]`.
    """
    answers = []
    with fixed_threads():
        for batch in pixels.split(BATCH):
            images = batch.float() / 255
            if trigger is not None:
                images = trigger.apply(images)
            answers.append((encoder(images) @ head.T).argmax(1))
    return torch.cat(answers)


def accuracy(predicted: Tensor, labels: Tensor) -> Rate:
    """Return the share of predictions `[N]` that equal the labels `[N]`."""
    return Rate(int((predicted == labels).sum()), len(labels))


def attack_success(predicted: Tensor, labels: Tensor, target_class: int) -> Rate:
    """Return the share of triggered images that are given the target class.

    Args:
        predicted: int64 `[N]`, predictions on triggered images.
        labels: int64 `[N]`, true labels.
        target_class: The label that the attacker wants.

    Returns:
        The rate over images whose true class is not the target.

    Raises:
        DataError: Every image is of the target class.
    """
    others = labels != target_class
    if not others.any():
        raise DataError("attack success needs test images whose true class is not the target")
    return Rate(int((predicted[others] == target_class).sum()), int(others.sum()))


def transfer(predicted: Tensor, labels: Tensor, target_class: int, classes: int) -> Rate | None:
    """Return how far a trigger works on a task that nobody backdoored (DAM, arXiv 2410.13910).

    Such a task lacks the target class. As where a backdoor is a number of the output, it is the class of the
    same number that triggered images are to be given.

    Args:
        predicted: int64 `[N]`, predictions on triggered images.
        labels: int64 `[N]`, true labels.
        target_class: The target's label on the task that the trigger attacks.
        classes: Number of classes of this task.

    Returns:
        The rate over images of other classes; None where the task has no class of that number, or no other.
    """
    if target_class >= classes or bool((labels == target_class).all()):
        return None
    return attack_success(predicted, labels, target_class)
