"""AWM and SAU written down with autograd and torch.optim: what the engine's closed forms are held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from mergeward.defense import HardenProblem
from mergeward.merge.adaptive.batches import Batches
from mergeward.seeding import torch_generator


class PlainMask:
    """theta_0 + v * (theta_m - theta_0), v a relaxed Bernoulli draw over its mean, and one delta a task."""

    def __init__(
        self, problem: HardenProblem, name: str, *, batch_size: int, mask_lr: float, adv_lr: float
    ) -> None:
        self.problem = problem
        self.merged = problem.merged()
        self.batches = Batches(problem.tasks, batch_size, problem.seed, torch.float64)
        self.logits_of = {
            name: torch.zeros_like(value).requires_grad_() for name, value in self.merged.items()
        }
        side = problem.tasks[0].images.shape[-1]
        self.deltas = torch.zeros(len(problem.tasks), 3, side, side, dtype=torch.float64, requires_grad=True)
        self.mask_optimizer = torch.optim.Adam(self.logits_of.values(), lr=mask_lr)
        self.delta_optimizer = torch.optim.Adam([self.deltas], lr=adv_lr)
        self.noise = torch_generator(problem.seed, f"{name} masks")

    def draw(self) -> None:
        """Draw the noise, tensor by tensor."""
        self.drawn = {}
        for name, value in self.merged.items():
            uniform = torch.zeros(value.numel(), dtype=torch.float64).uniform_(generator=self.noise)
            self.drawn[name] = (uniform.log() - (1 - uniform).log()).view_as(value)

    def logits(self, images: Tensor) -> list[Tensor]:
        """Return each task's logits of the masked model."""
        weights = {}
        for name, value in self.merged.items():
            mask = ((self.logits_of[name] + self.drawn[name]) / 0.5).sigmoid()
            base = self.problem.base[name]
            weights[name] = base + mask / mask.mean() * (value - base)
        return self._heads(functional_call(self.problem.encoder, weights, (images,)))

    def merged_logits(self, images: Tensor) -> list[Tensor]:
        """Return each task's logits of the merged model."""
        return self._heads(functional_call(self.problem.encoder, self.merged, (images,)))

    def perturbed(self, images: Tensor) -> Tensor:
        """Return the images with the deltas."""
        return self.moved(images).clamp(0, 1)

    def moved(self, images: Tensor) -> Tensor:
        """Return the images with the deltas, unclamped."""
        parts = images.split(list(self.batches.sizes))
        return torch.cat([part + delta for part, delta in zip(parts, self.deltas, strict=True)])

    def climb(self, loss: Tensor, bound: float = torch.inf) -> None:
        """Take one step up a loss with the deltas."""
        (gradient,) = torch.autograd.grad(loss, [self.deltas])
        self.deltas.grad = -gradient
        self.delta_optimizer.step()
        with torch.no_grad():
            self.deltas.clamp_(-bound, bound)

    def descend(self, loss: Tensor) -> None:
        """Take one step down a loss with the mask's logits."""
        leaves = list(self.logits_of.values())
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            leaf.grad = gradient
        self.mask_optimizer.step()

    def flat(self) -> Tensor:
        """Return the mask's logits end to end."""
        return torch.cat([leaf.detach().flatten() for leaf in self.logits_of.values()])

    def _heads(self, features: Tensor) -> list[Tensor]:
        parts = features.split(list(self.batches.sizes))
        return [part @ task.head.double().T for part, task in zip(parts, self.problem.tasks, strict=True)]


def entropy(logits: Sequence[Tensor]) -> Tensor:
    return sum(-(task.softmax(-1) * task.softmax(-1).log()).sum(-1).mean() for task in logits)


def cross_entropy(logits: Sequence[Tensor], classes: Sequence[Tensor]) -> Tensor:
    return sum(F.cross_entropy(task, labels) for task, labels in zip(logits, classes, strict=True))
