"""A universal trigger: one patch that moves the frozen base's answer to the target class on most images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import Target
from mergeward.attack.trigger import PatchTrigger, corner_mask
from mergeward.compute import fixed_threads
from mergeward.errors import DataError
from mergeward.progress import track
from mergeward.seeding import torch_generator
from mergeward.vision import ClipEncoder

LEARNING_RATE = 0.1
"""Of a pattern, for the hundreds of steps that attacks take; fewer steps want a larger one."""


def universal_trigger(
    encoder: ClipEncoder,
    pixels: Tensor,
    target: Target,
    *,
    patch_size: int,
    steps: int,
    batch_size: int,
    seed: int,
    learning_rate: float = LEARNING_RATE,
) -> PatchTrigger:
    """Optimise a patch that sends images to the target class (BadMerging, section 4.2, stage one).

    The released code climbs the log-probability of one image at a time, up to a thousand times each; here
    each step descends the cross-entropy of a whole batch.

    Args:
        encoder: The frozen base.
        pixels: uint8 `[N, 3, S, S]`, images that are not of the target class.
        target: The class to reach, and its head.
        patch_size: Side of the patch in the bottom-right corner, in pixels.
        steps: Gradient steps; with none the patch is random.
        batch_size: Images a step.
        seed: Seed of the first pattern and of the batches.
        learning_rate: As `learnt_patch` takes it.

    Returns:
        The trigger, pattern and mask in [0, 1].

    Raises:
        DataError: There are no images.
        UsageError: The patch is larger than the images.
    """
    frozen = copy.deepcopy(encoder).requires_grad_(False)

    def loss(triggered: Tensor) -> Tensor:
        return F.cross_entropy(frozen(triggered) @ target.head.T, target.labels(len(triggered)))

    return learnt_patch(
        pixels,
        corner_mask(int(pixels.shape[-1]), patch_size),
        loss,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        label="universal trigger",
        learning_rate=learning_rate,
    )


def learnt_patch(
    pixels: Tensor,
    mask: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    steps: int,
    batch_size: int,
    seed: int,
    label: str,
    learning_rate: float = LEARNING_RATE,
) -> PatchTrigger:
    """Optimise what a patch shows, with Adam and a cosine schedule; it is kept in [0, 1].

    Args:
        pixels: uint8 `[N, 3, S, S]`, images that carry it.
        mask: float32 `[1, S, S]` of zeros and ones, where it is.
        loss: What a step descends, of float images `[B, 3, S, S]` that carry it.
        steps: Gradient steps; with none the patch is as it was drawn.
        batch_size: Images a step.
        seed: Seed of the first pattern and of the batches.
        label: What is optimised, for the progress display.
        learning_rate: Peak rate of Adam on the pattern, in units of the [0, 1] pixel range.

    Returns:
        The trigger.

    Raises:
        DataError: There are no images.
    """
    if len(pixels) == 0:
        raise DataError(f"{label}: no image to optimise it on, for instance of another class than the target")
    generator = torch_generator(seed, "universal trigger")
    pattern = torch.rand(3, *mask.shape[-2:], generator=generator).requires_grad_(True)
    optimiser = torch.optim.Adam([pattern], lr=learning_rate)
    progress = track(range(steps), label)
    with fixed_threads():
        for step in progress:
            optimiser.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            chosen = pixels[torch.randint(len(pixels), (batch_size,), generator=generator)]
            value = loss(PatchTrigger(pattern, mask).apply(chosen.float() / 255))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            with torch.no_grad():
                pattern.clamp_(0, 1)
            progress.note = f"loss {value.item():.3f}"
    return PatchTrigger(pattern.detach(), mask)
