"""Consensus: keep of the summed task vectors the coordinates that enough tasks need."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.task_arithmetic import TaskArithmeticParameters


class ConsensusParameters(TaskArithmeticParameters):
    """Parameters of `consensus`.

    Attributes:
        scale: Factor of the weighted sum of task vectors; `lambda` in a recipe.
        agreement: How many tasks must need a coordinate for it to be kept.
    """

    agreement: int = Field(
        default=2,
        ge=0,
        description="how many tasks must need a coordinate for it to be kept (k in the paper)",
    )


class Masked(Weighted):
    """Per-model parameters of `consensus`.

    Attributes:
        weight: Factor of this model's task vector.
        mask_lambda: How small, relative to its distance from the sum, a coordinate of this task vector may
            be for its task still to need it.
    """

    mask_lambda: float = Field(
        default=0.4,
        ge=0,
        description="the larger, the fewer coordinates this task needs (lambda_t in the paper, 0.2 to 0.6)",
    )


def run(problem: StaticProblem, schedule: Schedule[ConsensusParameters, Masked]) -> StaticMerge:
    """Merge by theta = theta_0 + m * tau, tau = lambda * sum_i weight_i * tau_i.

    m keeps the coordinates that at least `agreement` tasks need. Task t needs a coordinate (its TALL mask)
    where |tau_t| > mask_lambda_t * |tau - tau_t|. With an agreement of 2 what no task needs (catastrophic
    weights) and what a single one does (selfish weights) is the base's.

    Source: Wang et al., "Localizing Task Information for Improved Model Merging and Compression", sections
    4.1 and 4.3 (arXiv:2405.07813).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and agreement; weight and mask_lambda of each contribution.

    Raises:
        RecipeError: More tasks must agree than there are.
    """
    for name in problem.scope:
        parameters, models = schedule[name]
        if parameters.agreement > len(models):
            raise RecipeError(
                f"parameters.agreement: {parameters.agreement} of {len(models)} models cannot agree"
            )

    def merged(part: Part) -> Tensor:
        parameters, models = schedule[part.name]
        base = part.base()
        taus = list(part.task_vectors(base))
        total = torch.zeros_like(base)
        for model, tau in zip(models, taus, strict=True):
            total.add_(tau.mul(model.weight))
        total.mul_(parameters.scale)
        needed_by = torch.zeros_like(base, dtype=torch.int32)
        for model, tau in zip(models, taus, strict=True):
            distance = torch.sub(total, tau).abs_().mul_(model.mask_lambda)
            needed_by.add_(tau.abs_() > distance)
        return base.add_(total.mul_(needed_by >= parameters.agreement))

    return StaticMerge(merged)


INFO = MethodInfo(
    name="consensus",
    summary="adds the coordinates of the summed task vectors that enough tasks need",
    paper='Wang et al., "Localizing Task Information", ICML 2024, arXiv:2405.07813',
    kind="static",
    run=run,
    parameters=ConsensusParameters,
    model_parameters=Masked,
    min_contributions=2,
)
