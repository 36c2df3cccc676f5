"""How the predictions spread over the classes: entropy alone rewards predicting one class for everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mergeward.merge.adaptive.batches import sample, to_unit
from mergeward.merge.adaptive.heads import apply_heads
from mergeward.merge.adaptive.objectives import entropy
from mergeward.merge.adaptive.problem import UnlabelledTask

BALANCE_IMAGES = 256
"""At most so many adapt images a task are looked at."""

CHUNK = 128
"""Images a forward pass."""


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


@torch.no_grad()
def balance_of(
    encode: Callable[[Tensor], Tensor],
    tasks: Sequence[UnlabelledTask],
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> dict[str, dict[str, float | int]]:
    """Return `class_balance` of every task, by name, over at most `BALANCE_IMAGES` of its images.

    Args:
        encode: Maps pixels `[B, 3, S, S]` in [0, 1] to features `[B, D]`.
        tasks: Images and heads.
        seed: Chooses the images of a task that has more.
        dtype: Type of the pixels and the heads.
    """
    chosen = [sample(task, BALANCE_IMAGES, seed) for task in tasks]
    chunks = torch.split(torch.cat(chosen), CHUNK)
    features = torch.cat([encode(to_unit(chunk, dtype)) for chunk in chunks])
    logits = apply_heads(
        features, [task.head.to(dtype) for task in tasks], [len(images) for images in chosen]
    )
    return {task.name: class_balance(own) for task, own in zip(tasks, logits, strict=True)}
