"""What AWM and SAU share as DAM's authors adapted them: a mask on what the merge changed, without labels.

theta = theta_0 + m * (theta_m - theta_0), with theta_m the merged model and m one relaxed Bernoulli mask, one
variable a weight. That is a merge of one contribution, the merged model, with coefficient 1, under one mask
learnt as DAM learns its Backdoor-Detection mask (`merge.adaptive.mask_learning`). Every step draws the
mask, lets a perturbation of the images climb what changes the masked model's predictions, and lets the mask's
logits step down a loss on clean and perturbed images.

Two variants. `released` is `clip_post_defense.py` of DAM's code (arXiv 2410.13910), step by step: the
perturbation is measured in CLIP's normalised pixels, has no bound, and climbs without a clamp; where the mask
is learnt, perturbed images are clamped to [0, 1] in normalised pixels, which flattens whatever is darker than
the mean or more than one standard deviation lighter; the perturbation and the mask draw a batch each; the
final mask is one draw, here seeded. `paper` keeps what these steps are for, and is a reading of ours, since
the paper does not print them: bounded perturbations in [0, 1] pixel space, clamped there in both halves,
which share a batch; the final mask is its expectation.

Not reproduced in either: images come from the adapt split instead of the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from mergeward.defense.problem import Hardened, HardenProblem
from mergeward.defense.session import LearningParameters, as_merge, change_left
from mergeward.merge.adaptive.mask_learning import Plan, Switches, merge_with_masks
from mergeward.merge.adaptive.mask_parameters import (
    DrawnMasks,
    MaskParameters,
    PerturbationParameters,
    Variant,
    VariantParameters,
)
from mergeward.merge.adaptive.safety import Adversary, Safety

MASK = "change"
"""What the mask is called in records."""

VARIANTS: Mapping[Variant, Switches] = {
    "paper": Switches(masks=(MASK,)),
    "released": Switches(masks=(MASK,), normalised=True, clamp_climb=False, fresh_batches=True),
}


class MaskedParameters(LearningParameters, DrawnMasks, PerturbationParameters, VariantParameters):
    """Parameters of AWM and SAU; "released" names the defaults of DAM's code, which its variant brings."""

    RELEASED_NUMBERS = MappingProxyType({"adv_lr": 1e-4, "adv_bound": "none", "final_mask": "sample"})

    variant: Variant = Field(
        default="paper",
        description="`paper`: bounded perturbations in pixel space (our reading; the paper prints none); "
        "`released`: DAM's code, step by step, with its defaults",
    )
    adv_weight: float = Field(
        default=0.01, ge=0, description="weight of the loss on perturbed images (released: 0.01)"
    )
    safe_loss: Literal["entropy", "consistency"] = Field(
        default="entropy",
        description="loss on perturbed images: `entropy` (released), or `consistency`, cross-entropy against "
        "the prediction for the clean ones (the published method's, with predictions for labels)",
    )

    def plan(self, defense: str, adversary: Callable[..., Adversary] = Adversary) -> Plan:
        """Return what is learnt, and how.

        Args:
            defense: Name of the defense.
            adversary: What makes use of the perturbation; called as `Adversary` is.
        """
        own = self.model_dump(include={"steps", "mask_lr", "temperature", "final_mask"})
        safety = Safety(
            alpha=self.adv_weight,
            loss=self.safe_loss,
            lr=self.adv_lr,
            bound=self.bound,
            all_masks=False,
        )
        parameters = MaskParameters(**own, **self.session())
        return Plan(defense, VARIANTS[self.variant], parameters, safety=safety, adversary=adversary)


def learn(problem: HardenProblem, plan: Plan) -> Hardened:
    """Learn the mask and apply it.

    Args:
        problem: The merged encoder, the base and the images.
        plan: How it is learnt.

    Returns:
        The hardened weights. The record holds `loss` (by part, one number a step; the parts are
        `performance`, `safety` and `perturbation`), `masks` (mean keep probability by tensor),
        `perturbation` (largest |delta| by task) and `change_left` (length of the change from the base, over
        that of the merged model).

    Raises:
        MergewardError: A loss is no longer finite.
        UnsupportedError: `released`, and the encoder does not say how it normalises.
    """
    result = merge_with_masks(as_merge(problem), plan)
    kept = {name: result.record[name] for name in ("loss", "masks", "perturbation")}
    return Hardened(result.weights, {**kept, "change_left": change_left(problem, result.weights)})
