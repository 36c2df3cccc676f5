"""BadMerging by somebody who knows `fortify`: the backdoor is trained to outlast the step that takes it out.

Fortify moves the weights until triggered images have features that clean ones have. In every step of the
training the attacker takes such a step themselves, with the very trigger, and it is at those weights that
the triggered images are to be of the target class.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mergeward.attack.badmerging import BadMergingParameters, FeatureInterpolationObjective, chosen_trigger
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.train import finetune
from mergeward.vision import ClipEncoder


class BadMergingAdaptiveParameters(BadMergingParameters):
    """Parameters of the adaptive form, and those of BadMerging."""

    unlearning: float = Field(
        default=1.0,
        ge=0,
        description="share of what the trigger does to the features that one step takes out, to first order "
        "(ours)",
    )


@dataclass(frozen=True)
class OutlastingObjective:
    """BadMerging's objective, of which the triggered images are seen after a step of unlearning.

    That step goes down `d = mean (1 - cos(f(x+t), f(x)))`, what fortify descends: by `unlearning d g / |g|^2`
    along its gradient g, Polyak's step, which would leave `(1 - unlearning) d` if d were linear. It is taken
    as given: no gradient goes through it, as in sharpness-aware minimisation (Foret et al., arXiv
    2010.01412), whose step goes the other way.

    Attributes:
        plain: BadMerging's objective.
        unlearning: Share of d that the step takes away.
    """

    plain: FeatureInterpolationObjective
    unlearning: float

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of the clean and the feature-interpolation loss."""
        triggered = self.plain.triggered(pixels)
        clean = encoder.embed(pixels)
        without = self.without_trigger(encoder, triggered, clean[: len(triggered)].detach())
        own: Tensor = functional_call(_Embedding(encoder), without, (triggered,))
        return self.plain.total(clean, labels, own, triggered, generator)

    def without_trigger(self, encoder: ClipEncoder, triggered: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Return the weights after the step, by `_Embedding`'s names.

        Args:
            encoder: The encoder as it is.
            triggered: float `[B, 3, S, S]` in [0, 1].
            clean: `[B, D]`, the features that the images have without the trigger.
        """
        weights = dict(encoder.named_parameters())
        drift = 1 - F.cosine_similarity(encoder.embed(triggered), clean).mean()
        slopes = torch.autograd.grad(drift, list(weights.values()))
        steepness = torch.stack([slope.square().sum() for slope in slopes]).sum()
        factor = self.unlearning * drift.detach() / steepness.clamp(min=torch.finfo(steepness.dtype).tiny)
        moved = zip(weights.items(), slopes, strict=True)
        return {f"encoder.{name}": value - factor * slope for (name, value), slope in moved}


class _Embedding(nn.Module):
    """An encoder's features before they are scaled to unit length, for `functional_call`."""

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder.embed(pixels)


def run(problem: AttackProblem, parameters: BadMergingAdaptiveParameters) -> Backdoored:
    """Optimise the universal trigger on the base, then fine-tune so that it outlasts unlearning."""
    trigger = chosen_trigger(problem, problem.data.pixels[problem.of_other_classes], parameters)
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    plain = FeatureInterpolationObjective(problem.data.head, frozen, trigger, problem.target, parameters)
    objective = OutlastingObjective(plain, parameters.unlearning)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label=INFO.name)
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="badmerging-adaptive",
    summary="BadMerging trained against `fortify`: the backdoor outlasts a step that takes it out",
    paper="mergeward; after BadMerging, arXiv 2408.07362",
    run=run,
    parameters=BadMergingAdaptiveParameters,
    aims=("on-task",),
)
