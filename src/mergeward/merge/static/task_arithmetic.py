"""Task arithmetic: add the scaled sum of the task vectors to the base."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, Parameters, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class TaskArithmeticParameters(Parameters):
    """Parameters of `task_arithmetic`.

    Attributes:
        scale: Factor of the weighted sum of task vectors; `lambda` in a recipe.
    """

    scale: float = Field(
        default=1.0, alias="lambda", description="factor of the weighted sum of task vectors"
    )


def run(problem: StaticProblem, schedule: Schedule[TaskArithmeticParameters, Weighted]) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * sum_i weight_i * (theta_i - theta_0).

    Source: Ilharco et al., "Editing Models with Task Arithmetic", section 4 (arXiv:2212.04089), with a
    coefficient for each task vector.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, and one weight for each contribution.
    """

    def merged(part: Part) -> Tensor:
        parameters, models = schedule[part.name]
        base = part.base()
        total = torch.zeros_like(base)
        for model, task_vector in zip(models, part.task_vectors(base), strict=True):
            # Multiply, then add: whether torch fuses the two into one rounding depends on the processor.
            total.add_(task_vector.mul_(model.weight))
        return base.add_(total.mul_(parameters.scale))

    return StaticMerge(merged)


INFO = MethodInfo(
    name="task_arithmetic",
    summary="adds the scaled sum of the task vectors to the base",
    paper='Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, arXiv:2212.04089',
    kind="static",
    run=run,
    parameters=TaskArithmeticParameters,
    model_parameters=Weighted,
)
