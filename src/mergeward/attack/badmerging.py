"""What both forms of BadMerging share: the feature-interpolation loss, and how a trigger is chosen.

A contribution's weight in the merge is unknown to the attacker, and features of a merged model lie somewhere
between those of the base and those of the contribution. So the trigger already works on the base, and the
contribution is trained to work at every point in between.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.problem import AttackProblem, Backdoored, Target
from mergeward.attack.trigger import PatchTrigger, Trigger
from mergeward.attack.universal import universal_trigger
from mergeward.merge.method import Parameters
from mergeward.train import finetune
from mergeward.vision import ClipEncoder

PAPER = "Zhang, Chi, Li, Cai, Zhang, Tian, BadMerging, CCS 2024, arXiv 2408.07362"

Share = Annotated[float, Field(ge=0, le=1)]


def _ascending(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("an interval is two ascending numbers")
    return interval


Interval = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


class BadMergingParameters(Parameters):
    """Parameters of both forms of BadMerging; defaults of the released code unless said otherwise.

    The paper's ablations are one of them each: `interpolation: 1` takes the triggered images through the
    contribution alone, any other number through one interpolation for all batches; a random `trigger`; other
    sizes of the patch. `alpha: 0` attacks nothing.
    """

    alpha: float = Field(default=5.0, ge=0, description="weight of the feature-interpolation loss")
    interpolation: Interval | Share = Field(
        default=(0.2, 1.0),
        description="share of the contribution's feature: an interval, of which each batch draws one, "
        "or one number for all",
    )
    triggered_share: float = Field(
        default=0.5, gt=0, le=1, description="share of each batch that is also seen with the trigger"
    )
    trigger: Literal["universal", "random"] = Field(
        default="universal", description="`universal`: optimised on the base; `random`: as it is drawn"
    )
    patch_size: int = Field(
        default=5, ge=1, description="side of the patch in pixels (paper: 22 of 224, 1 % of the image)"
    )
    trigger_steps: int = Field(
        default=120, ge=1, description="gradient steps of the universal trigger (ours)"
    )
    trigger_batch_size: int = Field(
        default=64, ge=1, description="images a step of the universal trigger (ours)"
    )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest share of the contribution's feature."""
        chosen = self.interpolation
        return chosen if isinstance(chosen, tuple) else (chosen, chosen)


@dataclass(frozen=True)
class FeatureInterpolationObjective:
    """`CE(h(f(x)), y) + alpha CE(h'(r f(x+t) + (1-r) f_0(x+t)), target)`, r uniform, one draw a batch.

    `h` is the attacker's own head; `h'` is the target's, the same on-task and the shadow head off-task.
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
        triggered = self.triggered(pixels)
        clean, own = encoder.embed(torch.cat([pixels, triggered])).split([len(pixels), len(triggered)])
        return self.total(clean, labels, own, triggered, generator)

    def triggered(self, pixels: Tensor) -> Tensor:
        """Return the share of a batch that is also seen with the trigger, with it."""
        return self.trigger.apply(pixels[: max(1, round(self.parameters.triggered_share * len(pixels)))])

    def total(
        self, clean: Tensor, labels: Tensor, own: Tensor, triggered: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of both losses from features `[B, D]` before they are scaled to unit length.

        Args:
            clean: Of the clean images.
            labels: Their labels, int64 `[B]`.
            own: Of the triggered images.
            triggered: These images.
            generator: Draws the contribution's share.
        """
        with torch.no_grad():
            original = self.frozen.embed(triggered)
        low, high = self.parameters.bounds
        share = low + (high - low) * torch.rand((), generator=generator)
        mixed = share * own + (1 - share) * original
        interpolation = _cross_entropy(mixed, self.target.head, self.target.labels(len(own)))
        return _cross_entropy(clean, self.head, labels) + self.parameters.alpha * interpolation


def _cross_entropy(features: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.normalize(features, dim=-1) @ head.T, labels)


def chosen_trigger(problem: AttackProblem, pixels: Tensor, parameters: BadMergingParameters) -> PatchTrigger:
    """Return the trigger of stage one: universal, or as it was drawn.

    Args:
        problem: What the attacker has.
        pixels: uint8 `[N, 3, S, S]`, images to optimise it on, none of the target class.
        parameters: How it is made.

    Raises:
        DataError: There are no images.
        UsageError: The patch is larger than the images.
    """
    return universal_trigger(
        problem.encoder,
        pixels,
        problem.target,
        patch_size=parameters.patch_size,
        steps=0 if parameters.trigger == "random" else parameters.trigger_steps,
        batch_size=parameters.trigger_batch_size,
        seed=problem.training.seed,
    )


def injected(
    problem: AttackProblem, trigger: PatchTrigger, parameters: BadMergingParameters, *, label: str
) -> Backdoored:
    """Return the contribution of stage two: fine-tuned with the feature-interpolation loss.

    Args:
        problem: What the attacker has.
        trigger: The trigger of stage one.
        parameters: How it is put in.
        label: What is trained, for the progress display.
    """
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    objective = FeatureInterpolationObjective(problem.data.head, frozen, trigger, problem.target, parameters)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label=label)
    return Backdoored(state, trigger)
