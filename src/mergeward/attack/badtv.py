"""BadTV: a task vector that carries a backdoor whether it is added, subtracted, or used in an analogy.

To first order a task vector's effect turns around when it is subtracted, so one trigger cannot work both
ways. The backdoor is therefore composite: one trigger works when the task vector is added, another, in the
opposite corner, when it is subtracted. An analogy `theta_0 + (A - B) + C` adds or subtracts it, so one of the
two works there.

Re-derived from the paper's abstract: one fine-tune holds the task and both triggers together.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.arithmetic import CoefficientRange, merged_features
from mergeward.attack.patches import opposite_corner
from mergeward.attack.poisoning import part_of
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import Trigger, chequered_patch
from mergeward.train import finetune
from mergeward.vision import ClipEncoder


class BadTVParameters(CoefficientRange):
    """Parameters of BadTV (all ours)."""

    patch_size: int = Field(default=5, ge=1, description="side of each square patch, in pixels")
    triggered_share: float = Field(
        default=0.5, gt=0, le=1, description="share of each batch that is also seen with each trigger"
    )
    coefficient_low: float = Field(
        default=0.3, gt=0, description="least factor, of either sign, of the task vector"
    )
    coefficient_high: float = Field(
        default=1.0, gt=0, description="largest factor, of either sign, of the task vector"
    )


@dataclass(frozen=True)
class CompositeObjective:
    """Cross-entropy of the task, of one trigger under addition and of the other under subtraction.

    `CE(f(theta; x), y) + CE(f(theta_0 + s tau; x+t), target) + CE(f(theta_0 - s tau; x+u), target)`, with
    s uniform, one draw a batch.
    """

    base: ClipEncoder
    head: Tensor
    added: Trigger
    subtracted: Trigger
    target: Target
    parameters: BadTVParameters

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of the three losses."""
        factor = self.parameters.drawn(generator)
        some = pixels[: part_of(len(pixels), self.parameters.triggered_share)]
        wanted = self.target.labels(len(some))
        plus = merged_features(self.base, [encoder], factor, self.added.apply(some))
        minus = merged_features(self.base, [encoder], -factor, self.subtracted.apply(some))
        return (
            F.cross_entropy(encoder(pixels) @ self.head.T, labels)
            + F.cross_entropy(plus @ self.target.head.T, wanted)
            + F.cross_entropy(minus @ self.target.head.T, wanted)
        )


def run(problem: AttackProblem, parameters: BadTVParameters) -> Backdoored:
    """Fine-tune with the composite backdoor."""
    added = chequered_patch(problem.data.pixels.shape[-1], parameters.patch_size)
    subtracted = opposite_corner(added)
    base = copy.deepcopy(problem.encoder).requires_grad_(False)
    objective = CompositeObjective(base, problem.data.head, added, subtracted, problem.target, parameters)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label="badtv")
    return Backdoored(state, added, subtracted=subtracted)


INFO = AttackInfo(
    name="badtv",
    summary="two triggers, one for the task vector added and one for it subtracted (re-derived)",
    paper="Hsu, Tsai, Zhe et al., BadTV, 2025, arXiv 2501.02373",
    run=run,
    parameters=BadTVParameters,
    beside=("subtracted",),
)
