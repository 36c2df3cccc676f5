"""EMR: elect one task vector for all, which masks and rescalers turn back into that of each task."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, NoParameters, Parameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class EmrParameters(Parameters):
    """Parameters of `emr`.

    Attributes:
        task: The contribution, counted from 0, that the result is to be modulated for; None for none.
    """

    task: int | None = Field(
        default=None,
        ge=0,
        description="number of the contribution, from 0, that the merge is modulated for; by default none",
    )


def run(problem: StaticProblem, schedule: Schedule[EmrParameters, NoParameters]) -> StaticMerge:
    """Merge by theta_0 + tau, tau the elected task vector; or theta_0 + r_t * (m_t * tau) for one task.

    A coordinate's sign is that of the sum of the task vectors, zero counting as negative; its magnitude is
    the largest among the task vectors of that sign. m_t keeps the coordinates at which tau_t has the
    elected sign, and r_t = sum of mean |tau_t| / sum of mean |m_t * tau|, means over each tensor and sums
    over the tensors, as in the authors' code. EMR as published applies m_t and r_t when it is known which
    task an image is of: set `task` for that model. Without, the result is the one model that all tasks
    share, and is not what the paper measures.

    Source: Huang et al., "EMR-Merging", section 3.2 (arXiv:2405.17461).

    Args:
        problem: The base, its contributions and the scope.
        schedule: The task, if one.

    Returns:
        The merge. For a task it costs a pass over all task vectors first.

    Raises:
        RecipeError: There is no such contribution, or the task varies by tensor.
    """
    task = schedule.uniform("emr", "task").parameters.task
    if task is not None and task >= len(problem.contributions):
        count = len(problem.contributions)
        raise RecipeError(f"parameters.task: {task}; there are {count} contributions, counted from 0")
    rescaler = 1.0 if task is None else _rescaler(problem, task)

    def merged(part: Part) -> Tensor:
        base = part.base()
        elected = _elected(part, base)
        if task is not None:
            elected.mul_(part.task_vector(task, base).mul_(elected) > 0).mul_(rescaler)
        return base.add_(elected)

    return StaticMerge(merged)


def _elected(part: Part, base: Tensor) -> Tensor:
    total = torch.zeros_like(base, dtype=torch.float64)
    highest, lowest = torch.zeros_like(base), torch.zeros_like(base)
    for tau in part.task_vectors(base):
        total.add_(tau)
        torch.maximum(highest, tau, out=highest)
        torch.minimum(lowest, tau, out=lowest)
    return torch.where(total > 0, highest, lowest)


def _rescaler(problem: StaticProblem, task: int) -> float:
    def masses(part: Part) -> tuple[float, float]:
        base = part.base()
        elected = _elected(part, base)
        tau = part.task_vector(task, base)
        kept = elected.mul(torch.mul(tau, elected) > 0)
        size = max(problem.base.tensors[part.name].numel, 1)
        return _mass(tau) / size, _mass(kept) / size

    own, kept = zip(*problem.map(masses, "measuring the rescaler"), strict=True)
    return math.fsum(own) / math.fsum(kept) if any(kept) else 0.0


def _mass(values: Tensor) -> float:
    return float(values.abs().sum(dtype=torch.float64))


INFO = MethodInfo(
    name="emr",
    summary="elects one task vector for all; for one task it is masked and rescaled",
    paper='Huang et al., "EMR-Merging", NeurIPS 2024, arXiv:2405.17461',
    kind="static",
    run=run,
    parameters=EmrParameters,
)
