"""Representation surgery: a small module a task takes out of the features what merging put into them.

It goes on top of any merge and leaves the weights as they are. The paper's

    z' = z - up relu(down z),   down [r, D], up [D, r]

is learnt so that z' comes close, in the mean absolute difference, to the features of the task's own
contribution on the task's unlabelled images. Here z are features of unit length, and z' is scaled to unit
length for the head; the authors' code takes z as the encoder gives it. The map is homogeneous, and heads see
directions only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward import progress
from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.batches import shuffled
from mergeward.merge.adaptive.learning import finite
from mergeward.merge.adaptive.members import features_of, with_weights
from mergeward.merge.adaptive.problem import AdaptiveProblem, UnlabelledTask
from mergeward.merge.method import Parameters
from mergeward.seeding import torch_generator

SUMMARY = "corrects the merged model's features for each task, to those of the task's own contribution"
PAPER = 'Yang et al., "Representation Surgery for Multi-Task Model Merging", ICML 2024, arXiv:2402.02705'


class SurgeryParameters(Parameters):
    """Parameters of representation surgery; the defaults are those of the paper's code."""

    rank: int = Field(default=16, ge=1, description="width of each module (paper: 16)")
    steps: int = Field(default=1000, ge=0, description="Adam steps a task (paper's code: 500 times two)")
    lr: float = Field(default=1e-3, ge=0, description="Adam step size (paper: 1e-3)")
    batch_size: int = Field(default=16, ge=1, description="adapt images a step (paper: 16)")


@dataclass(frozen=True)
class Repair:
    """The module of one task.

    Attributes:
        down: `[r, D]`.
        up: `[D, r]`.
    """

    down: Tensor
    up: Tensor

    @property
    def width(self) -> int:
        """Width of the features, `D`."""
        return self.down.shape[1]

    def corrected(self, features: Tensor) -> Tensor:
        """Return features `[B, D]` less what the module finds in them."""
        return features - (features @ self.down.T).relu() @ self.up.T

    def apply(self, features: Tensor) -> Tensor:
        """Return corrected features `[B, D]` of unit length."""
        return F.normalize(self.corrected(features), dim=-1)


def operate(
    problem: AdaptiveProblem, merged: Mapping[str, Tensor], parameters: SurgeryParameters
) -> tuple[dict[str, Repair], dict[str, Any]]:
    """Learn a module for each task (arXiv:2402.02705).

    Where several contributions claim a task, the features to come close to are the mean of theirs.

    Args:
        problem: What was merged, with the tasks that the contributions claim.
        merged: The merged weights.
        parameters: Rank, steps, step size and batch size.

    Returns:
        The modules by task, and by task the record: `loss` at each step and the mean absolute difference to
        the contribution's features over all adapt images `before` and `after`.

    Raises:
        DataError: The contributions' tasks are not known.
        MergewardError: A model's features or a loss are not finite.
    """
    own = problem.own_tasks("surgery")
    repairs, record = {}, {}
    with fixed_threads():
        merged_encoder = with_weights(problem.encoder, merged)
        for task in dict.fromkeys(task.name for task in own):
            images = next(one for one in problem.tasks if one.name == task)
            experts = [index for index, claimed in enumerate(own) if claimed.name == task]
            features = features_of(merged_encoder, images.images, who=f"surgery: merged model on {task}")
            wanted = torch.stack([_expert(problem, index, images) for index in experts]).mean(0)
            repair, losses = fit(features, wanted, images, parameters, problem.seed)
            repairs[task] = repair
            record[task] = {
                "loss": losses,
                "before": float(F.l1_loss(features, wanted)),
                "after": float(F.l1_loss(repair.corrected(features), wanted)),
            }
    return repairs, record


def fit(
    features: Tensor, wanted: Tensor, task: UnlabelledTask, parameters: SurgeryParameters, seed: int
) -> tuple[Repair, list[float]]:
    """Learn the module of one task, from features that do not change.

    `down` starts as PyTorch's linear layers do, uniform within 1 / sqrt(D), and `up` at zero.

    Args:
        features: `[N, D]`, the merged model's.
        wanted: `[N, D]`, those to come close to.
        task: Whose features they are; seeds the order of the images.
        parameters: Rank, steps, step size and batch size.
        seed: Seed of the start and the batches.

    Returns:
        The module, and the loss at each step.
    """
    width = features.shape[1]
    generator = torch_generator(seed, "surgery", task.name)
    bound = 1 / math.sqrt(width)
    down = torch.empty(parameters.rank, width).uniform_(-bound, bound, generator=generator).to(features)
    up = torch.zeros(width, parameters.rank).to(features)
    learnt = Repair(down.requires_grad_(), up.requires_grad_())
    optimizer = torch.optim.Adam([learnt.down, learnt.up], lr=parameters.lr)
    losses = []
    numbers = progress.track(range(parameters.steps), f"surgery: {task.name}")
    for step, rows in zip(numbers, _batches(task, parameters.batch_size, seed), strict=False):
        loss = F.l1_loss(learnt.corrected(features[rows]), wanted[rows])
        losses.append(finite(loss, "surgery", step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        numbers.note = f"loss {losses[-1]:.4f}"
    return Repair(down.detach(), up.detach()), losses


def _batches(task: UnlabelledTask, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield int64 `[B]`, the images of one step after another, shuffled anew each epoch."""
    size = min(batch_size, len(task.images))
    epoch = 0
    while True:
        order = shuffled(task, seed, epoch)
        yield from order[: len(order) // size * size].split(size)
        epoch += 1


def _expert(problem: AdaptiveProblem, index: int, task: UnlabelledTask) -> Tensor:
    module = with_weights(problem.encoder, problem.contributions[index])
    return features_of(module, task.images, who=f"surgery: {problem.names[index]}")
