"""DAM, Defense-Aware Merging: two masks that keep what tasks share and cut what a perturbation sets off.

Two variants, one implementation (`mask_learning`); what tells them apart is in `VARIANTS` and
`DamParameters.RELEASED_NUMBERS`.

`paper` is our reading of the algorithm, from accounts of the paper, whose own pages could not be read whole.
What these leave open is named here, with the choice taken:

- L_safe: `consistency` (cross-entropy on perturbed images against the prediction for the clean ones), the
  very quantity that the perturbation climbs; `entropy` on perturbed images is what the released code
  minimises.
- The perturbation: one delta a task over the whole image, L-infinity bounded by 8/255 in [0, 1] pixel space.
- The inner step moves lambda for good.
- The Task-Shared mask sees L_perf only (`shared_loss`), the Backdoor-Detection mask L_perf + alpha L_safe.
- At the end the masks are fixed, at their expectation by default, and lambda is learnt further by plain
  AdaMerging from where the masks' stage left it; `coefficient_steps: 0` leaves that out.

`released` is the authors' code, step by step, its odd points among it:

- one mask instead of two, learnt on L_perf + 0.1 L_safe with L_safe the entropy on perturbed images;
- before every inner step lambda is put back to its start, but only after the weights were merged with its
  last value; then one Adam step of size 1 whose gradient belongs to those weights, and no projection onto
  [0, 1];
- to that gradient is added the one that the mask's step before left in lambda: nobody cleared it;
- delta is measured in CLIP's normalised pixels, has no bound, and climbs without a clamp; where the mask is
  learnt, perturbed images are clamped to [0, 1] in normalised pixels, which flattens whatever is darker than
  the mean or more than one standard deviation lighter;
- the inner step, the perturbation and the mask each draw a new batch;
- the final mask is one draw (here seeded), and AdaMerging starts again from the start of lambda.

Not reproduced: images come from the adapt split instead of the test split, and entropies are computed without
the code's 1e-8 inside the logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field, model_validator

from mergeward.merge.adaptive.mask_learning import Plan, Switches, merge_with_masks
from mergeward.merge.adaptive.mask_parameters import (
    CoefficientParameters,
    PerturbationParameters,
    Variant,
    VariantParameters,
)
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.adaptive.safety import Safety
from mergeward.merge.method import MethodInfo

VARIANTS: Mapping[Variant, Switches] = {
    "paper": Switches(masks=("task_shared", "backdoor_detection")),
    "released": Switches(
        masks=("shared",),
        restart=True,
        stale=True,
        carry=True,
        clamp=False,
        normalised=True,
        clamp_climb=False,
        fresh_batches=True,
    ),
}


class DamParameters(CoefficientParameters, PerturbationParameters, VariantParameters):
    """Parameters of DAM; "released" names the defaults of the authors' code, which `variant` brings along."""

    RELEASED_NUMBERS = MappingProxyType(
        {
            "base_lr": 1.0,
            "safe_loss": "entropy",
            "adv_lr": 1e-4,
            "adv_bound": "none",
            "final_mask": "sample",
        }
    )

    variant: Variant = Field(
        default="paper",
        description="`paper`: our reading of the published algorithm; `released`: the authors' code, step by "
        "step, with its defaults",
    )
    alpha: float = Field(
        default=0.1, ge=0, description="weight of L_safe in L_total = L_perf + alpha L_safe (released: 0.1)"
    )
    safe_loss: Literal["consistency", "entropy"] = Field(
        default="consistency",
        description="L_safe on perturbed images: `consistency` with the clean prediction, or `entropy` "
        "(released)",
    )
    shared_loss: Literal["performance", "total"] = Field(
        default="performance",
        description="what the Task-Shared mask steps down: L_perf, or L_total at the last perturbation "
        "(left open by the paper; released: has no such mask)",
    )

    @model_validator(mode="after")
    def _check_shared_loss(self) -> DamParameters:
        if self.variant == "released" and "shared_loss" in self.model_fields_set:
            raise ValueError("shared_loss: `variant: released` has no Task-Shared mask to learn by it")
        return self

    @property
    def mask_names(self) -> tuple[str, ...]:
        """What the masks of the variant are called."""
        return VARIANTS[self.variant].masks

    @property
    def safety(self) -> Safety:
        """The perturbation, and what is made of it."""
        return Safety(
            alpha=self.alpha,
            loss=self.safe_loss,
            lr=self.adv_lr,
            bound=self.bound,
            all_masks=self.shared_loss == "total",
        )

    @property
    def plan(self) -> Plan:
        """What DAM does with these parameters."""
        return Plan("dam", VARIANTS[self.variant], self, self, self.safety)


def run(problem: AdaptiveProblem, parameters: DamParameters) -> AdaptiveResult:
    """Merge by DAM (arXiv:2410.13910), layer-wise by default.

    theta = theta_0 + sum_t lambda[t, l] (tau_t * m1 * m2), with m1 the Task-Shared and m2 the
    Backdoor-Detection mask, each shared by all contributions; see `mask_learning` for the steps, and the head
    of this module for the variants.

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        parameters: See `DamParameters`.

    Returns:
        As `mask_learning.merge_with_masks`; the record's `loss` has the parts `performance`, `safety`,
        `perturbation` (each step on the masks) and `coefficients` (each AdaMerging step).

    Raises:
        MergewardError: The loss is no longer finite, or the predictions collapsed and that is refused.
        CheckpointError: The problem has masks of other names than the variant.
        UnsupportedError: `released`, and the encoder does not say how it normalises.
    """
    return merge_with_masks(problem, parameters.plan)


INFO = MethodInfo(
    name="dam",
    summary="learns coefficients under two masks, one of which cuts weights that a perturbation sets off",
    paper='Yang et al., "Mitigating the Backdoor Effect for Multi-Task Model Merging via Safety-Aware '
    'Subspace", ICLR 2025, arXiv:2410.13910',
    kind="adaptive",
    run=run,
    parameters=DamParameters,
    needs_images=True,
    any_device=True,
    learns_masks=True,
)
