"""Which classes a merged model can be driven to: for each class one trigger, in all four corners at once.

A backdoor stands out: its class is reached in a few steps, when others take many more. So an adversary that
looks at every class for a moment knows where to look for longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.merge.adaptive.batches import to_unit
from mergeward.merge.adaptive.heads import apply_head
from mergeward.merge.adaptive.merged_encoder import MergedEncoder
from mergeward.merge.adaptive.passes import automatic_size
from mergeward.merge.adaptive.problem import UnlabelledTask
from mergeward.seeding import torch_generator


@dataclass(frozen=True)
class Scouting:
    """How scouts go about it.

    Attributes:
        steps: Steps of each scout.
        images: Images of each scout and step.
        patch: Side of its patches, as a share of the images'.
        step: Length of a step, in [0, 1] pixels.
    """

    steps: int
    images: int
    patch: float
    step: float


def scout(engine: MergedEncoder, task: UnlabelledTask, head: Tensor, scouting: Scouting, seed: int) -> Tensor:
    """Return how far the present model still is from each class of a task after a few steps.

    Args:
        engine: The model; left as it is.
        task: Whose images carry the triggers.
        head: `[C, D]`, its head where the model computes.
        scouting: How long it takes.
        seed: Seed of the images and the starting values.

    Returns:
        float64 `[C]`, the cross-entropy of images with a class's trigger, mostly of the last steps; zeros
        where no step is taken.
    """
    generator = torch_generator(seed, "scouts", task.name)
    at_a_time = max(1, automatic_size(task.images.shape[-1]) // scouting.images)
    with engine.frozen():
        found = [
            _losses(engine, task.images, head, classes, scouting, generator)
            for classes in torch.arange(len(head)).split(at_a_time)
        ]
    return torch.cat(found)


def _losses(
    engine: MergedEncoder,
    images: Tensor,
    head: Tensor,
    classes: Tensor,
    scouting: Scouting,
    generator: torch.Generator,
) -> Tensor:
    side, count = images.shape[-1], scouting.images
    mask = _corners(side, max(1, round(scouting.patch * side))).to(head)
    values = torch.rand(len(classes), 3, side, side, generator=generator).to(head)
    aims = classes.repeat_interleave(count).to(head.device)
    lately = torch.zeros(len(classes), dtype=torch.float64)
    for _ in range(scouting.steps):
        chosen = torch.randint(len(images), (len(aims),), generator=generator)
        clean = to_unit(images[chosen], head.dtype, head.device)
        pasted = clean * (1 - mask) + values.repeat_interleave(count, 0) * mask
        leaf = pasted.requires_grad_()
        losses = F.cross_entropy(apply_head(engine.features(leaf), head), aims, reduction="none")
        (slope,) = torch.autograd.grad(losses.sum(), [leaf])
        towards = slope.view(len(classes), count, 3, side, side).sum(1).sign()
        values = (values - scouting.step * towards).clamp(0, 1)
        lately = (lately + losses.detach().double().cpu().view(-1, count).mean(1)) / 2
    return lately


def _corners(side: int, patch: int) -> Tensor:
    """Return ones in the four corners, zeros elsewhere: `[1, 1, S, S]`."""
    mask = torch.zeros(1, 1, side, side)
    for rows in (slice(patch), slice(side - patch, side)):
        for columns in (slice(patch), slice(side - patch, side)):
            mask[..., rows, columns] = 1
    return mask
