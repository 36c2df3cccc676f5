"""A universal trigger: one patch that moves the frozen base's answer to the target class on most images."""

from __future__ import annotations

import copy
import math

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
"""Peak rate of Adam on the pattern, in units of the [0, 1] pixel range."""


def universal_trigger(
    encoder: ClipEncoder,
    pixels: Tensor,
    target: Target,
    *,
    patch_size: int,
    steps: int,
    batch_size: int,
    seed: int,
) -> PatchTrigger:
    """Optimise a patch that sends images to the target class (BadMerging, section 4.2, stage one).

    The released code climbs the log-probability of one image at a time, up to a thousand times each; here
    each step descends the cross-entropy of a whole batch, with Adam and a cosine schedule, and the pattern is
    kept in [0, 1].

    Args:
        encoder: The frozen base.
        pixels: uint8 `[N, 3, S, S]`, images that are not of the target class.
        target: The class to reach, and its head.
        patch_size: Side of the patch in the bottom-right corner, in pixels.
        steps: Gradient steps.
        batch_size: Images a step.
        seed: Seed of the first pattern and of the batches.

    Returns:
        The trigger, pattern and mask in [0, 1].

    Raises:
        DataError: There are no images.
        UsageError: The patch is larger than the images.
    """
    if len(pixels) == 0:
        raise DataError("no image of another class than the target to optimise a trigger on")
    size = int(pixels.shape[-1])
    mask = corner_mask(size, patch_size)
    generator = torch_generator(seed, "universal trigger")
    pattern = torch.rand(3, size, size, generator=generator).requires_grad_(True)
    frozen = copy.deepcopy(encoder).requires_grad_(False)
    optimiser = torch.optim.Adam([pattern], lr=LEARNING_RATE)
    progress = track(range(steps), "universal trigger")
    with fixed_threads():
        for step in progress:
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            chosen = pixels[torch.randint(len(pixels), (batch_size,), generator=generator)]
            triggered = PatchTrigger(pattern, mask).apply(chosen.float() / 255)
            loss = F.cross_entropy(frozen(triggered) @ target.head.T, target.labels(batch_size))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                pattern.clamp_(0, 1)
            progress.note = f"loss {loss.item():.3f}"
    return PatchTrigger(pattern.detach(), mask)
