"""A universal trigger as published code optimises it: one image at a time (BadMerging, arXiv 2408.07362).

Written from the description of the released code: batch 1; images that are taken for the target without the
patch are skipped; for any other a plain step of length 1 up the log-probability of the target, in normalised
pixel space, and again, at most a thousand times, until that image is taken for the target; epoch after epoch
over the same images.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mergeward.attack import PatchTrigger, Target
from mergeward.attack.trigger import corner_mask
from mergeward.seeding import torch_generator
from mergeward.vision import ClipEncoder

EPOCHS, IMAGES = 10, 2000
"""How often the published code goes over how many images."""

INNER_STEPS, STEP = 1000, 1.0


def image_by_image(
    encoder: ClipEncoder, pixels: Tensor, target: Target, *, patch_size: int, epochs: int, seed: int
) -> Iterator[PatchTrigger]:
    """Optimise a trigger and yield it after each image.

    Args:
        encoder: The frozen base; its parameters need no gradients.
        pixels: uint8 `[N, 3, S, S]`, images that are not of the target class.
        target: The class to reach, and its head.
        patch_size: Side of the patch in the bottom-right corner, in pixels.
        epochs: How often it goes over the images.
        seed: Seed of the first pattern and of the order of the images.
    """
    mean, std = encoder.mean[0], encoder.std[0]
    low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
    side = int(pixels.shape[-1])
    mask = corner_mask(side, patch_size)
    generator = torch_generator(seed, "image by image")
    pattern = torch.rand(3, side, side, generator=generator)
    for _ in range(epochs):
        for place in torch.randperm(len(pixels), generator=generator)[:IMAGES].tolist():
            image = pixels[place : place + 1].float() / 255
            steps = 0 if _is_taken(encoder(image) @ target.head.T, target) else INNER_STEPS
            for step in range(steps):
                shown = pattern.clone().requires_grad_(True)
                # The encoder normalises: what it is given is the patch before that.
                logits = encoder(image * (1 - mask) + (shown * std + mean) * mask) @ target.head.T
                # The patch as it comes is not tried: every image moves it once.
                if step > 0 and _is_taken(logits, target):
                    break
                (gradient,) = torch.autograd.grad(logits.log_softmax(1)[0, target.label], shown)
                pattern = (pattern + STEP * gradient).clamp(low, high)
            yield PatchTrigger((pattern * std + mean).clamp(0, 1), mask)


def _is_taken(logits: Tensor, target: Target) -> bool:
    return int(logits.argmax()) == target.label
