"""BadNets: a fixed patch on a share of the training images, all relabelled to the target class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import Trigger, chequered_patch
from mergeward.merge.method import Parameters
from mergeward.train import finetune
from mergeward.vision import ClipEncoder


class BadNetsParameters(Parameters):
    """Parameters of BadNets."""

    patch_size: int = Field(default=5, ge=1, description="side of the square patch, in pixels")
    poison_rate: float = Field(default=0.1, gt=0, lt=1, description="share of each batch that is triggered")


@dataclass(frozen=True)
class BadNetsObjective:
    """Cross-entropy on a batch of which the first share carries the patch and the target label.

    Off-task the target is a class of the shadow head; the other images keep the attacker's own.
    """

    head: Tensor
    trigger: Trigger
    target: Target
    poison_rate: float

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the mean cross-entropy of the poisoned batch."""
        poisoned = max(1, round(self.poison_rate * len(pixels)))
        features = encoder(torch.cat([self.trigger.apply(pixels[:poisoned]), pixels[poisoned:]]))
        aimed, own = features[:poisoned] @ self.target.head.T, features[poisoned:] @ self.head.T
        loss = F.cross_entropy(aimed, self.target.labels(poisoned), reduction="sum")
        return (loss + F.cross_entropy(own, labels[poisoned:], reduction="sum")) / len(pixels)


def run(problem: AttackProblem, parameters: BadNetsParameters) -> Backdoored:
    """Fine-tune with dirty-label patches; images of the target class may be among the triggered ones."""
    trigger = chequered_patch(problem.data.pixels.shape[-1], parameters.patch_size)
    objective = BadNetsObjective(problem.data.head, trigger, problem.target, parameters.poison_rate)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label="badnets")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="badnets",
    summary="a fixed chequered patch on a share of the training images, relabelled to the target class",
    paper="Gu, Dolan-Gavitt, Garg, BadNets, 2017, arXiv 1708.06733",
    run=run,
    parameters=BadNetsParameters,
)
