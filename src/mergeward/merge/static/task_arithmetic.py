"""Task arithmetic: add the scaled sum of the task vectors to the base."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, Parameters, Weighted
from mergeward.merge.static.problem import StaticMerge, StaticProblem


class TaskArithmeticParameters(Parameters):
    """Parameters of `task_arithmetic`.

    Attributes:
        scale: Factor of the weighted sum of task vectors; `lambda` in a recipe.
    """

    scale: float = Field(
        default=1.0, alias="lambda", description="factor of the weighted sum of task vectors"
    )


def run(
    problem: StaticProblem, parameters: TaskArithmeticParameters, model_parameters: Sequence[Weighted]
) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * sum_i weight_i * (theta_i - theta_0).

    Source: Ilharco et al., "Editing Models with Task Arithmetic", section 4 (arXiv:2212.04089), with a
    coefficient for each task vector.

    Args:
        problem: The base, its contributions and the scope.
        parameters: lambda.
        model_parameters: One weight for each contribution.

    Returns:
        A function from a tensor's name to its merged value.
    """

    def merged(name: str) -> Tensor:
        base = problem.base_values(name)
        total = torch.zeros_like(base)
        for index, model in enumerate(model_parameters):
            # Multiply, then add: whether torch fuses the two into one rounding depends on the processor.
            total.add_(problem.task_vector(index, name, base).mul_(model.weight))
        return base.add_(total.mul_(parameters.scale))

    return merged


INFO = MethodInfo(
    name="task_arithmetic",
    summary="adds the scaled sum of the task vectors to the base",
    paper='Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, arXiv:2212.04089',
    kind="static",
    run=run,
    parameters=TaskArithmeticParameters,
    model_parameters=Weighted,
)
