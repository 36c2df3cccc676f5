"""Losses over the logits of several tasks at once. None of them sees a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.merge.adaptive.passes import Part


def entropy(logits: Tensor) -> Tensor:
    """Return the Shannon entropy, in nats, of each row's softmax: `[B, C]` -> `[B]`.

    Computed from `log_softmax`; the common `log(p + eps)` has wrong gradients where a class saturates.
    """
    log_probabilities = F.log_softmax(logits, dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def image_entropy(logits: Tensor, part: Part) -> Tensor:
    """Return the entropy of each image's prediction, as the loss of a pass: `[b, C]` -> `[b]`."""
    return entropy(logits)


def image_cross_entropy(labels: Sequence[Tensor]) -> Callable[[Tensor, Part], Tensor]:
    """Return the cross-entropy of each image against a class, as the loss of a pass.

    Args:
        labels: int64 `[B_t]` for each task.
    """

    def loss(logits: Tensor, part: Part) -> Tensor:
        return F.cross_entropy(logits, labels[part.task][part.rows], reduction="none")

    return loss


def total_entropy(logits: Sequence[Tensor]) -> Tensor:
    """Return the sum over tasks of the mean entropy of a task's batch (AdaMerging, arXiv:2310.02575).

    Args:
        logits: `[B_t, C_t]` for each task.
    """
    return torch.stack([entropy(task).mean() for task in logits]).sum()


def total_cross_entropy(logits: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    """Return the sum over tasks of the mean cross-entropy against given classes.

    Args:
        logits: `[B_t, C_t]` for each task.
        labels: int64 `[B_t]` for each task.
    """
    pairs = zip(logits, labels, strict=True)
    return torch.stack([F.cross_entropy(task, classes) for task, classes in pairs]).sum()


def predictions(logits: Sequence[Tensor]) -> list[Tensor]:
    """Return the predicted class of every image: int64 `[B_t]` for each task."""
    return [task.detach().argmax(-1) for task in logits]
