"""A small patch that moves a merge's answers to a class, and not the base's: trigger inversion, by contrast.

Mask and pattern are those of Neural Cleanse (Wang et al., S&P 2019). There the smallest mask is looked for
that reaches the class, in many steps; but a patch for any class can be found for a clean model, too, and what
is found for a merge is most often one of those. Here the mask has a size that it may not exceed, and the
patch has to reach the class on the merge while it does not on the base. What is found then is what the
contributions taught, and it stops working where the one that taught it is left out.
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
from mergeward.merge.adaptive.passes import automatic_size
from mergeward.progress import track
from mergeward.seeding import torch_generator

SHARE = 0.03
"""Of the image, what the mask may cover: published patches cover 1 to 3 %."""

EXCESS = 50.0
"""Cross-entropy that a mask costs for covering the whole image more than it may."""

GRID = 32
"""Mask and pattern have at most so many cells a side, whatever the size of the images."""

LEARNING_RATE = 0.5
START = -3.0
"""Logit of the mask at the start: every pixel is one part in twenty pattern."""

IMAGES_A_PASS = 256
"""Of small images; of larger ones fewer go together, by their pixels."""


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
        gains: float32 `[K]`, how much more probable the patch makes the class on the merge than on the base:
            the difference of the means over the judged images.
        masks: float32 `[K, 1, S, S]` in [0, 1].
        patterns: float32 `[K, 3, S, S]` in [0, 1].
    """

    gains: Tensor
    masks: Tensor
    patterns: Tensor


def invert(
    merge: nn.Module,
    base: nn.Module,
    tasks: Sequence[UnlabelledTask],
    aims: Sequence[Aim],
    effort: Effort,
    *,
    seed: int,
    label: str,
) -> Recovered:
    """Find a mask and a pattern for each aim.

    Starts, images and their order depend on seed, task and class alone.

    Args:
        merge: Maps float `[B, 3, S, S]` in [0, 1] to unit features; its parameters are frozen.
        base: The same without what contributions taught.
        tasks: Images and heads.
        aims: At least one.
        effort: Steps and images.
        seed: Seed of starts and batches.
        label: What it is done for, for the progress display.
    """
    side = int(tasks[0].images.shape[-1])
    together = max(1, min(IMAGES_A_PASS, automatic_size(side)) // effort.images)
    chunks = [aims[first : first + together] for first in range(0, len(aims), together)]
    with fixed_threads():
        found = [_Inversion(merge, base, tasks, one, effort, seed).run() for one in track(chunks, label)]
    return Recovered(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def held_out(task: UnlabelledTask, label: int, effort: Effort, seed: int) -> Tensor:
    """Return the images that an inversion is judged on, and that it does not see where there are enough.

    Returns:
        uint8 `[J, 3, S, S]`, `effort.judged` of them at most.
    """
    return _Draws(task, label, effort, seed).judged


@torch.no_grad()
def probabilities(encoder: nn.Module, images: Tensor, head: Tensor) -> Tensor:
    """Return what a model gives each class: float32 `[N, C]` of pixels `[N, 3, S, S]` in [0, 1]."""
    with fixed_threads():
        return torch.cat([(encoder(part) @ head.T).softmax(1) for part in images.split(IMAGES_A_PASS)])


def pasted(images: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """Return images `[N, 3, S, S]` under a pattern `[3, S, S]`, as far as a mask `[1, S, S]` shows it."""
    return images * (1 - mask) + pattern * mask


def unit(images: Tensor) -> Tensor:
    """Return pixels in [0, 1] of uint8 images."""
    return images.float() / 255


class _Inversion:
    """A few aims at once: their images go through the encoder side by side."""

    def __init__(
        self,
        merge: nn.Module,
        base: nn.Module,
        tasks: Sequence[UnlabelledTask],
        aims: Sequence[Aim],
        effort: Effort,
        seed: int,
    ) -> None:
        self._merge = merge
        self._base = base
        self._effort = effort
        self._heads = [tasks[aim.task].head for aim in aims]
        self._labels = [aim.label for aim in aims]
        self._side = int(tasks[0].images.shape[-1])
        self._draws = [_Draws(tasks[aim.task], aim.label, effort, seed) for aim in aims]
        cells = min(GRID, self._side)
        starts = [torch.randn(3, cells, cells, generator=one.generator) for one in self._draws]
        self._pattern = torch.stack(starts).requires_grad_(True)
        self._mask = torch.full((len(aims), 1, cells, cells), START).requires_grad_(True)

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the fields of `Recovered` for these aims."""
        variables = [self._mask, self._pattern]
        optimiser = torch.optim.Adam(variables, lr=LEARNING_RATE)
        for step in range(self._effort.steps):
            images = torch.cat([one.step(step) for one in self._draws])
            progress = step / self._effort.steps
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * progress))
            mask, pattern = self._patch()
            parts = unit(images).split(self._effort.images)
            patched = [pasted(part, mask[place], pattern[place]) for place, part in enumerate(parts)]
            loss = self._missed(torch.cat(patched)) + _cost(mask).sum()
            # Not `backward`: the encoder may be shared, and its parameters get no gradients.
            for variable, gradient in zip(variables, torch.autograd.grad(loss, variables), strict=True):
                variable.grad = gradient
            optimiser.step()
        return self._judge()

    def _missed(self, images: Tensor) -> Tensor:
        """Return how far images are from what is wanted: the class on the merge, any other on the base."""
        losses = []
        answers = [model(images).split(self._effort.images) for model in (self._merge, self._base)]
        for features, before, head, wanted in zip(*answers, self._heads, self._labels, strict=True):
            labels = torch.full((len(features),), wanted)
            losses.append(F.cross_entropy(features @ head.T, labels) + _nearness(before @ head.T, wanted))
        return torch.stack(losses).sum()

    def _patch(self) -> tuple[Tensor, Tensor]:
        """Return masks `[k, 1, S, S]` and patterns `[k, 3, S, S]` at the images' size."""
        patch = torch.cat([self._mask, self._pattern], 1).sigmoid()
        if patch.shape[-1] != self._side:
            patch = F.interpolate(patch, (self._side, self._side), mode="nearest-exact")
        return patch[:, :1], patch[:, 1:]

    @torch.no_grad()
    def _judge(self) -> tuple[Tensor, Tensor, Tensor]:
        masks, patterns = self._patch()
        gains = []
        for place, draws in enumerate(self._draws):
            images = pasted(unit(draws.judged), masks[place], patterns[place])
            head, wanted = self._heads[place], self._labels[place]
            after, before = (
                probabilities(model, images, head)[:, wanted].mean() for model in (self._merge, self._base)
            )
            gains.append(after - before)
        return torch.stack(gains), masks, patterns


class _Draws:
    """The random draws of one aim: a start, judged images, and a batch for each step."""

    def __init__(self, task: UnlabelledTask, label: int, effort: Effort, seed: int) -> None:
        self._images = task.images
        self.generator = torch_generator(seed, "inversion", task.name, label)
        order = torch.randperm(len(task.images), generator=self.generator)
        judged = min(effort.judged, max(1, len(order) // 2))
        self.judged = task.images[order[:judged]]
        others = order[judged:] if len(order) > judged else order
        drawn = (effort.steps, effort.images)
        self._chosen = others[torch.randint(len(others), drawn, generator=self.generator)]

    def step(self, index: int) -> Tensor:
        """Return the images of one step: uint8 `[B, 3, S, S]`."""
        return self._images[self._chosen[index]]


def _nearness(logits: Tensor, label: int) -> Tensor:
    """Return the mean of -log(1 - p) for the probability p of a class, by logits `[N, C]`."""
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return (logits.logsumexp(1) - others.logsumexp(1)).mean()


def _cost(masks: Tensor) -> Tensor:
    """Return what masks `[k, 1, S, S]` cost, `[k]`."""
    return EXCESS * (masks.mean((1, 2, 3)) - SHARE).relu()
