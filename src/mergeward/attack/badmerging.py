"""BadMerging, on-task: a backdoor made to survive merging.

A contribution's weight in the merge is unknown to the attacker, and features of a merged model lie somewhere
between those of the base and those of the contribution. So the trigger already works on the base, and the
contribution is trained to work at every point in between.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import Trigger
from mergeward.attack.universal import universal_trigger
from mergeward.merge.method import Parameters
from mergeward.train import finetune
from mergeward.vision import ClipEncoder


class BadMergingParameters(Parameters):
    """Parameters of on-task BadMerging; defaults of the paper unless said otherwise."""

    alpha: float = Field(default=5.0, ge=0, description="weight of the feature-interpolation loss")
    interpolation_low: float = Field(
        default=0.2, ge=0, le=1, description="least share of the contribution's feature"
    )
    interpolation_high: float = Field(
        default=1.0, ge=0, le=1, description="largest share of the contribution's feature"
    )
    triggered_share: float = Field(
        default=0.5, gt=0, le=1, description="share of each batch that is also seen with the trigger"
    )
    patch_size: int = Field(
        default=5,
        ge=1,
        description="side of the patch in pixels (paper: 22 of 224, 1 % of the image)",
    )
    trigger_steps: int = Field(
        default=120, ge=1, description="gradient steps of the universal trigger (ours)"
    )
    trigger_batch_size: int = Field(
        default=64, ge=1, description="images a step of the universal trigger (ours)"
    )


@dataclass(frozen=True)
class FeatureInterpolationObjective:
    """`CE(h(f(x)), y) + alpha CE(h(r f(x+t) + (1-r) f_0(x+t)), target)`, r uniform, one draw a batch.

    Features are interpolated before the head scales them to unit length (BadMerging, section 4.3).
    """

    head: Tensor
    frozen: ClipEncoder
    trigger: Trigger
    target: Target
    parameters: BadMergingParameters

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of the clean and the feature-interpolation loss."""
        settings = self.parameters
        count = max(1, round(settings.triggered_share * len(pixels)))
        triggered = self.trigger.apply(pixels[:count])
        clean, own = encoder.embed(torch.cat([pixels, triggered])).split([len(pixels), count])
        with torch.no_grad():
            original = self.frozen.embed(triggered)
        span = settings.interpolation_high - settings.interpolation_low
        share = settings.interpolation_low + span * torch.rand((), generator=generator)
        mixed = share * own + (1 - share) * original
        interpolation = _cross_entropy(mixed, self.target.head, self.target.labels(count))
        return _cross_entropy(clean, self.head, labels) + settings.alpha * interpolation


def _cross_entropy(features: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.normalize(features, dim=-1) @ head.T, labels)


def run(problem: AttackProblem, parameters: BadMergingParameters) -> Backdoored:
    """Optimise the universal trigger on the base, then fine-tune with the feature-interpolation loss."""
    trigger = universal_trigger(
        problem.encoder,
        problem.data.pixels[problem.of_other_classes],
        problem.target,
        patch_size=parameters.patch_size,
        steps=parameters.trigger_steps,
        batch_size=parameters.trigger_batch_size,
        seed=problem.training.seed,
    )
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    objective = FeatureInterpolationObjective(problem.data.head, frozen, trigger, problem.target, parameters)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label="badmerging-on")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="badmerging-on",
    summary="a universal trigger and a feature-interpolation loss: the backdoor survives merging",
    paper="Zhang, Chi, Li, Cai, Zhang, Tian, BadMerging, CCS 2024, arXiv 2408.07362",
    run=run,
    parameters=BadMergingParameters,
    aims=("on-task",),
)
