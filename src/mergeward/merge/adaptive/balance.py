"""How the predictions spread over the classes: entropy alone rewards predicting one class for everything."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergeward.merge.adaptive.objectives import entropy


def class_balance(logits: Tensor) -> dict[str, float | int]:
    """Describe the predictions for one task's images.

    Args:
        logits: `[N, C]`.

    Returns:
        `images` (N), `classes` (C), `top_class` and `top_share` (the class predicted most often and the share
        of images it gets), `mean_entropy` (of single predictions, nats; falls as the model gets surer) and
        `entropy_of_mean` (of the mean prediction, nats; log C when classes are used evenly, near 0 after a
        collapse onto one class).
    """
    counts = logits.argmax(-1).bincount(minlength=logits.shape[1])
    mean = logits.softmax(-1).mean(0)
    return {
        "images": len(logits),
        "classes": logits.shape[1],
        "top_class": int(counts.argmax()),
        "top_share": float(counts.max() / len(logits)),
        "mean_entropy": float(entropy(logits).mean()),
        "entropy_of_mean": float(torch.special.entr(mean).sum()),
    }


def balances(names: Sequence[str], logits: Sequence[Tensor]) -> dict[str, dict[str, float | int]]:
    """Return `class_balance` of every task, by name."""
    return {name: class_balance(task) for name, task in zip(names, logits, strict=True)}
