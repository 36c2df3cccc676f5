"""MagMax: take each coordinate from the task vector in which it moved farthest."""

from __future__ import annotations

import torch
from torch import Tensor

from mergeward.merge.method import MethodInfo, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.task_arithmetic import TaskArithmeticParameters


def run(problem: StaticProblem, schedule: Schedule[TaskArithmeticParameters, Weighted]) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * (the weight_i * tau_i of the largest magnitude).

    Where two of opposite sign are equally large it is the positive one, whatever their order.

    Source: Marczak et al., "MagMax", section 4 (arXiv:2407.06322).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, and one weight for each contribution.
    """

    def merged(part: Part) -> Tensor:
        parameters, models = schedule[part.name]
        base = part.base()
        highest, lowest = torch.full_like(base, -torch.inf), torch.full_like(base, torch.inf)
        for model, tau in zip(models, part.task_vectors(base), strict=True):
            tau.mul_(model.weight)
            torch.maximum(highest, tau, out=highest)
            torch.minimum(lowest, tau, out=lowest)
        largest = torch.where(highest >= -lowest, highest, lowest)
        return base.add_(largest.mul_(parameters.scale))

    return StaticMerge(merged)


INFO = MethodInfo(
    name="magmax",
    summary="takes each coordinate from the task vector in which it moved farthest",
    paper='Marczak et al., "MagMax", ECCV 2024, arXiv:2407.06322',
    kind="static",
    run=run,
    parameters=TaskArithmeticParameters,
    model_parameters=Weighted,
)
