"""The smallest patch that moves a model's answers to a class: trigger inversion, for many classes at once.

Of every class some patch can be found, in a clean model too: what counts is how much easier it is in one
model than in another, on the same images from the same start (Wang et al., "Neural Cleanse", S&P 2019, whose
mask and pattern these are; the comparison with the base is ours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.compute import fixed_threads
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.progress import track
from mergeward.seeding import torch_generator

AREA_WEIGHT = 2.0
"""Cross-entropy that a mask over the whole image costs; 2e-3 for each of 32 x 32 pixels."""

GRID = 32
"""Mask and pattern have at most so many cells a side, whatever the size of the images."""

LEARNING_RATE = 0.5
START = -2.0
"""Logit of the mask at the start: every pixel is one eighth pattern."""

IMAGES_A_PASS = 256


@dataclass(frozen=True)
class Aim:
    """What an inversion tries to reach.

    Attributes:
        task: Place of the task among the tasks.
        label: The class, under that task's head.
    """

    task: int
    label: int


@dataclass(frozen=True)
class Effort:
    """How hard it tries.

    Attributes:
        steps: Steps of Adam.
        images: Images a step.
        judged: Images that the result is judged on, none of them used in a step where there are enough.
    """

    steps: int
    images: int
    judged: int = 64


@dataclass(frozen=True)
class Recovered:
    """What `K` inversions found.

    Attributes:
        losses: float32 `[K]`, cross-entropy to the class plus what the mask costs, on the judged images.
        areas: float32 `[K]`, mean of the mask.
        masks: float32 `[K, 1, S, S]` in [0, 1].
        patterns: float32 `[K, 3, S, S]` in [0, 1].
    """

    losses: Tensor
    areas: Tensor
    masks: Tensor
    patterns: Tensor


def invert(
    encoder: nn.Module,
    tasks: Sequence[UnlabelledTask],
    aims: Sequence[Aim],
    effort: Effort,
    seed: int,
    *,
    label: str,
) -> Recovered:
    """Find a mask and a pattern for each aim.

    Starts, images and their order depend on seed, task and class alone, and so are the same for every model.

    Args:
        encoder: Maps float `[B, 3, S, S]` in [0, 1] to unit features; its parameters are frozen.
        tasks: Images and heads.
        aims: At least one.
        effort: Steps and images.
        seed: Seed of starts and batches.
        label: Which model it is, for the progress display.
    """
    together = max(1, IMAGES_A_PASS // effort.images)
    chunks = [aims[first : first + together] for first in range(0, len(aims), together)]
    with fixed_threads():
        found = [_Inversion(encoder, tasks, chunk, effort, seed).run() for chunk in track(chunks, label)]
    return Recovered(*(torch.cat(parts) for parts in zip(*found, strict=True)))


@torch.no_grad()
def success(
    encoder: nn.Module, images: Tensor, head: Tensor, label: int, mask: Tensor, pattern: Tensor
) -> float | None:
    """Return the share of images that a patch moves to a class, among those not given it without.

    Args:
        encoder: The model.
        images: uint8 `[N, 3, S, S]`.
        head: `[C, D]`.
        label: The class.
        mask: float32 `[1, S, S]`.
        pattern: float32 `[3, S, S]`.

    Returns:
        None where every image is given the class without the patch.
    """
    plain = _unit(images)
    with fixed_threads():
        before = (encoder(plain) @ head.T).argmax(1)
        after = (encoder(_pasted(plain, mask, pattern)) @ head.T).argmax(1)
    others = before != label
    return float((after[others] == label).float().mean()) if bool(others.any()) else None


class _Inversion:
    """A few aims at once: their images go through the encoder side by side."""

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Sequence[UnlabelledTask],
        aims: Sequence[Aim],
        effort: Effort,
        seed: int,
    ) -> None:
        self._encoder = encoder
        self._effort = effort
        self._heads = [tasks[aim.task].head for aim in aims]
        self._labels = [aim.label for aim in aims]
        self._side = int(tasks[0].images.shape[-1])
        drawn = [_Draws(tasks[aim.task], aim.label, effort, seed) for aim in aims]
        self._steps = [torch.cat([one.step(index) for one in drawn]) for index in range(effort.steps)]
        self._judged = [one.judged for one in drawn]
        cells = min(GRID, self._side)
        starts = [torch.randn(3, cells, cells, generator=one.generator) for one in drawn]
        self._pattern = torch.stack(starts).requires_grad_(True)
        self._mask = torch.full((len(aims), 1, cells, cells), START).requires_grad_(True)

    def run(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fields of `Recovered` for these aims."""
        variables = [self._mask, self._pattern]
        optimiser = torch.optim.Adam(variables, lr=LEARNING_RATE)
        for step, images in enumerate(self._steps):
            progress = step / self._effort.steps
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * progress))
            mask, pattern = self._patch()
            parts = _unit(images).split(self._effort.images)
            patched = [_pasted(part, mask[place], pattern[place]) for place, part in enumerate(parts)]
            features = self._encoder(torch.cat(patched)).split(self._effort.images)
            losses = [
                F.cross_entropy(own @ head.T, torch.full((len(own),), wanted))
                for own, head, wanted in zip(features, self._heads, self._labels, strict=True)
            ]
            loss = torch.stack(losses).sum() + AREA_WEIGHT * mask.mean((1, 2, 3)).sum()
            # Not `backward`: the encoder may be shared, and its parameters get no gradients.
            for variable, gradient in zip(variables, torch.autograd.grad(loss, variables), strict=True):
                variable.grad = gradient
            optimiser.step()
        return self._judge()

    def _patch(self) -> tuple[Tensor, Tensor]:
        """Return masks `[k, 1, S, S]` and patterns `[k, 3, S, S]` at the images' size."""
        patch = torch.cat([self._mask, self._pattern], 1).sigmoid()
        if patch.shape[-1] != self._side:
            patch = F.interpolate(patch, (self._side, self._side), mode="nearest-exact")
        return patch[:, :1], patch[:, 1:]

    @torch.no_grad()
    def _judge(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        masks, patterns = self._patch()
        areas = masks.mean((1, 2, 3))
        losses = []
        for place, judged in enumerate(self._judged):
            head, wanted = self._heads[place], self._labels[place]
            images = _unit(judged)
            logits = self._encoder(_pasted(images, masks[place], patterns[place])) @ head.T
            losses.append(F.cross_entropy(logits, torch.full((len(images),), wanted)))
        return torch.stack(losses) + AREA_WEIGHT * areas, areas, masks, patterns


class _Draws:
    """The random draws of one aim: a start, judged images, and a batch for each step."""

    def __init__(self, task: UnlabelledTask, label: int, effort: Effort, seed: int) -> None:
        self.generator = torch_generator(seed, "inversion", task.name, label)
        order = torch.randperm(len(task.images), generator=self.generator)
        judged = min(effort.judged, max(1, len(order) // 2))
        self.judged = task.images[order[:judged]]
        self._others = task.images[order[judged:] if len(order) > judged else order]
        drawn = (effort.steps, effort.images)
        self._chosen = torch.randint(len(self._others), drawn, generator=self.generator)

    def step(self, index: int) -> Tensor:
        """Return the images of one step: uint8 `[B, 3, S, S]`."""
        return self._others[self._chosen[index]]


def _pasted(images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    return images * (1 - mask) + pattern * mask


def _unit(images: Tensor) -> Tensor:
    return images.float() / 255
