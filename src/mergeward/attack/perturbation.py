"""Adversarial perturbation of single images, in [0, 1] pixel space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.compute import fixed_threads
from mergeward.progress import track
from mergeward.seeding import torch_generator
from mergeward.vision import ClipEncoder

BATCH = 128


def untargeted(
    encoder: ClipEncoder,
    head: Tensor,
    pixels: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step: float,
    steps: int,
    seed: int,
) -> Tensor:
    """Move images away from their label: projected gradient ascent (PGD, arXiv 1706.06083).

    Each image starts at a random place in the cube around it and climbs the cross-entropy by the sign of its
    gradient.

    Args:
        encoder: The surrogate; its parameters need no gradients.
        head: float32 `[C, D]`.
        pixels: float `[N, 3, H, W]` in [0, 1]; left as they are.
        labels: int64 `[N]`.
        epsilon: Bound of the change of each value.
        step: Length of a step.
        steps: Number of steps.
        seed: Seed of where it starts.

    Returns:
        float `[N, 3, H, W]` in [0, 1].
    """
    generator = torch_generator(seed, "perturbation")
    start = pixels + epsilon * (2 * torch.rand(pixels.shape, generator=generator) - 1)
    found = []
    with fixed_threads():
        for first in track(range(0, len(pixels), BATCH), "perturbation"):
            part = slice(first, first + BATCH)
            low, high = (pixels[part] - epsilon).clamp(min=0), (pixels[part] + epsilon).clamp(max=1)
            moved = start[part].clamp(low, high)
            for _ in range(steps):
                moved.requires_grad_(True)
                loss = F.cross_entropy(encoder(moved) @ head.T, labels[part], reduction="sum")
                (gradient,) = torch.autograd.grad(loss, moved)
                moved = (moved.detach() + step * gradient.sign()).clamp(low, high)
            found.append(moved.detach())
    return torch.cat(found)
