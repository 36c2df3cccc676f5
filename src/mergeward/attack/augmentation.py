"""Adversarial data augmentation: many images that are hard to pull to a class, from a few images of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import Target
from mergeward.compute import fixed_threads
from mergeward.progress import track
from mergeward.seeding import torch_generator
from mergeward.vision import ClipEncoder

SCALE, RATIO = (0.2, 0.5), (3 / 4, 4 / 3)
"""Share of the area that a crop keeps, and its width over its height."""

EPSILON, STEP, STEPS = 8 / 255, 1 / 255, 40
"""Bound and step of the perturbation in [0, 1] pixel space, and how often it is repeated."""


def random_crops(references: Tensor, count: int, seed: int) -> Tensor:
    """Return crops of images, resized to their size.

    Args:
        references: uint8 `[R, 3, S, S]`.
        count: Number of crops; each image gives as many as another, or one more.
        seed: Seed of the crops.

    Returns:
        uint8 `[count, 3, S, S]`.
    """
    generator = torch_generator(seed, "reference crops")
    side = int(references.shape[-1])
    crops = []
    for place in range(count):
        top, left, height, width = _box(side, generator)
        whole = references[place % len(references)].float() / 255
        crop = whole[None, :, top : top + height, left : left + width]
        crops.append(F.interpolate(crop, (side, side), mode="bilinear", antialias=True))
    return (torch.cat(crops) * 255).round().clamp(0, 255).to(torch.uint8)


def _box(side: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Return top, left, height and width of one crop of a square image."""
    area, shape, down, across = torch.rand(4, generator=generator).tolist()
    share = SCALE[0] + area * (SCALE[1] - SCALE[0])
    ratio = math.exp(math.log(RATIO[0]) + shape * math.log(RATIO[1] / RATIO[0]))
    height = min(side, max(1, round(side * math.sqrt(share / ratio))))
    width = min(side, max(1, round(side * math.sqrt(share * ratio))))
    return int(down * (side - height + 1)), int(across * (side - width + 1)), height, width


def pushed_away(encoder: ClipEncoder, pixels: Tensor, target: Target, seed: int) -> Tensor:
    """Perturb each image until it is taken for some other class of the target's head.

    Targeted projected gradient descent (arXiv 1706.06083) towards a random other class an image. Of the steps
    at which an image is taken for it, the one with the smallest change (L1) counts, or else the last
    (the released code has the image unchanged then, and draws no class that the image is taken for already).

    Args:
        encoder: The frozen base.
        pixels: uint8 `[N, 3, S, S]`.
        target: The class that images are pushed away from, and its head.
        seed: Seed of the other classes.

    Returns:
        uint8 `[N, 3, S, S]`, at most `EPSILON` from `pixels` everywhere. A step is one level of eight bits,
        so nothing is rounded.
    """
    goals = _other_classes(target, len(pixels), seed)
    start = pixels.float() / 255
    low, high = (start - EPSILON).clamp(min=0), (start + EPSILON).clamp(max=1)
    moved, best = start, start.clone()
    least = torch.full((len(start),), torch.inf)
    with fixed_threads():
        for _ in track(range(STEPS), "adversarial augmentation"):
            moved = moved.detach().requires_grad_(True)
            loss = F.cross_entropy(encoder(moved) @ target.head.T, goals, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = (moved.detach() - STEP * gradient.sign()).clamp(low, high)
            with torch.no_grad():
                reached = (encoder(moved) @ target.head.T).argmax(1) == goals
            change = (moved - start).abs().flatten(1).sum(1)
            better = reached & (change < least)
            least = torch.where(better, change, least)
            best[better] = moved[better]
    found = torch.where(least.isfinite()[:, None, None, None], best, moved)
    return (found * 255).round().to(torch.uint8)


def _other_classes(target: Target, count: int, seed: int) -> Tensor:
    classes = len(target.head)
    drawn = torch.randint(classes - 1, (count,), generator=torch_generator(seed, "other classes"))
    return drawn + (drawn >= target.label)
