"""How the predictions spread over the classes: entropy alone rewards predicting one class for everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mergeward.errors import MergewardError
from mergeward.merge.adaptive.batches import sample, to_unit
from mergeward.merge.adaptive.heads import apply_heads
from mergeward.merge.adaptive.objectives import entropy
from mergeward.merge.adaptive.problem import UnlabelledTask

BALANCE_IMAGES = 256
"""At most so many adapt images a task are looked at."""

CHUNK = 128
"""Images a forward pass."""

Balance = dict[str, float | int]

COLLAPSED = 0.5
"""Predictions have collapsed when the classes beyond the first that they use fell to less than this part."""


def class_balance(logits: Tensor) -> Balance:
    """Describe the predictions for one task's images.

    Args:
        logits: `[N, C]`.

    Returns:
        `images` (N), `classes` (C), `top_class` and `top_share` (the class predicted most often and the share
        of images it gets), `classes_used` (exp of the entropy of the predicted classes' shares: C when every
        class is predicted equally often, 1 when only one is), `mean_entropy` (of single predictions, nats;
        falls as the model gets surer) and `entropy_of_mean` (of the mean prediction, nats; log C when classes
        are used evenly, near 0 after a collapse onto one class).
    """
    counts = logits.argmax(-1).bincount(minlength=logits.shape[1])
    mean = logits.softmax(-1).mean(0)
    return {
        "images": len(logits),
        "classes": logits.shape[1],
        "top_class": int(counts.argmax()),
        "top_share": float(counts.max() / len(logits)),
        "classes_used": float(torch.special.entr(counts.double() / len(logits)).sum().exp()),
        "mean_entropy": float(entropy(logits).mean()),
        "entropy_of_mean": float(torch.special.entr(mean).sum()),
    }


def collapses(start: Mapping[str, Balance], end: Mapping[str, Balance]) -> dict[str, str]:
    """Return the tasks whose predictions collapsed onto few classes, with what happened in words.

    The classes used at the start stand for what the images hold, whose labels nobody knows. A task has
    collapsed when `classes_used - 1` fell below `COLLAPSED` of what it was: from 8 classes to fewer than 4.5,
    from 2 to fewer than 1.5.

    Args:
        start: `class_balance` of every task before the learning.
        end: The same afterwards.
    """
    return {
        name: f"predictions for task {name!r} collapsed: {before['classes_used']:.1f} of "
        f"{before['classes']} classes in use at the start, {end[name]['classes_used']:.1f} at the end "
        f"({100 * end[name]['top_share']:.0f} % of the images are given one class)"
        for name, before in start.items()
        if end[name]["classes_used"] - 1 < COLLAPSED * (before["classes_used"] - 1)
    }


def refuse_broken(name: str, end: Mapping[str, Balance]) -> None:
    """Check that a model still gives numbers.

    Args:
        name: What made it, for the error.
        end: `class_balance` of every task afterwards.

    Raises:
        MergewardError: The predictions for a task are NaN: the weights have gone where nothing can be
            computed.
    """
    broken = [task for task, one in end.items() if not math.isfinite(one["mean_entropy"])]
    if broken:
        raise MergewardError(
            f"{name}: the predictions for {', '.join(broken)} are no finite numbers; nothing was written"
        )


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
