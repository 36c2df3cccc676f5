"""Concrete subspace learning: one mask, shared by all contributions, over their task vectors.

Where the public code departs from its own algorithm, `variant: paper` repairs it and `variant: released`
does as it does. In `concrete_adamerging` the released code merges with the last alternation's lambda, puts
lambda back to its start, and gives it one Adam step of size 1 by the gradient at the weights already merged,
without projection onto [0, 1]; its final mask is a draw, here seeded. The repaired one puts lambda back
first, takes a step of AdaMerging's size, keeps lambda in [0, 1], and fixes the mask at its expectation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field

from mergeward.merge.adaptive.mask_learning import Plan, Switches, merge_with_masks
from mergeward.merge.adaptive.mask_parameters import (
    CoefficientParameters,
    MaskParameters,
    Variant,
    VariantParameters,
)
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.method import MethodInfo

PAPER = 'Tang et al., "Concrete Subspace Learning based Interference Elimination", arXiv:2312.06173'

VARIANTS: Mapping[Variant, Switches] = {
    "paper": Switches(masks=("shared",), restart=True),
    "released": Switches(masks=("shared",), restart=True, stale=True, clamp=False),
}


class ConcreteTaskArithmeticParameters(MaskParameters):
    """Parameters of Concrete Task Arithmetic; "released" names the defaults of the public code."""

    steps: int = Field(default=2000, ge=0, description="Adam steps of the mask (released: 2000)")

    @property
    def plan(self) -> Plan:
        """What Concrete Task Arithmetic does with these parameters."""
        return Plan("concrete_task_arithmetic", Switches(masks=("shared",)), self)


class ConcreteAdaMergingParameters(CoefficientParameters, VariantParameters):
    """Parameters of Concrete AdaMerging; "released" names the defaults of the public code."""

    RELEASED_NUMBERS = MappingProxyType({"base_lr": 1.0, "final_mask": "sample"})

    variant: Variant = Field(
        default="paper",
        description="`paper`: the inner step starts from, and is taken at, the initial coefficients; "
        "`released`: the public code, step by step, with its defaults",
    )

    @property
    def plan(self) -> Plan:
        """What Concrete AdaMerging does with these parameters."""
        return Plan("concrete_adamerging", VARIANTS[self.variant], self, self)


def task_arithmetic(problem: AdaptiveProblem, parameters: ConcreteTaskArithmeticParameters) -> AdaptiveResult:
    """Merge by Concrete Task Arithmetic: a learnt mask, all coefficients at their start.

    Each step draws the mask and lets its logits step down L_perf = sum_t H(f(x_t)).

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        parameters: See `ConcreteTaskArithmeticParameters`.

    Returns:
        As `mask_learning.merge_with_masks`; the record's `loss` has the part `performance`.

    Raises:
        MergewardError: The loss is no longer finite, or the predictions collapsed and that is refused.
        CheckpointError: The problem has masks of other names.
    """
    return merge_with_masks(problem, parameters.plan)


def adamerging(problem: AdaptiveProblem, parameters: ConcreteAdaMergingParameters) -> AdaptiveResult:
    """Merge by Concrete AdaMerging, layer-wise by default: a learnt mask, then learnt coefficients.

    Each step draws the mask, gives lambda one step from its start on L_perf, and lets the mask's logits step
    down L_perf at that lambda, on the next batch. Then the mask is fixed and lambda is learnt by AdaMerging.

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        parameters: See `ConcreteAdaMergingParameters`.

    Returns:
        As `mask_learning.merge_with_masks`; the record's `loss` has the parts `performance` and
        `coefficients`.

    Raises:
        MergewardError: The loss is no longer finite, or the predictions collapsed and that is refused.
        CheckpointError: The problem has masks of other names.
    """
    return merge_with_masks(problem, parameters.plan)


TASK_ARITHMETIC = MethodInfo(
    name="concrete_task_arithmetic",
    summary="learns one mask over all task vectors: least entropy on unlabelled images",
    paper=PAPER,
    kind="adaptive",
    run=task_arithmetic,
    parameters=ConcreteTaskArithmeticParameters,
    needs_images=True,
    any_device=True,
    learns_masks=True,
)

ADAMERGING = MethodInfo(
    name="concrete_adamerging",
    summary="learns one mask over all task vectors, then a coefficient per layer and task vector",
    paper=PAPER,
    kind="adaptive",
    run=adamerging,
    parameters=ConcreteAdaMergingParameters,
    needs_images=True,
    any_device=True,
    learns_masks=True,
)
