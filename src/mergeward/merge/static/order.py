"""Robust means, coordinate by coordinate: the median and the trimmed mean of the task vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.task_arithmetic import TaskArithmeticParameters

Own = TypeVar("Own", bound=TaskArithmeticParameters)


class TrimmedMeanParameters(TaskArithmeticParameters):
    """Parameters of `trimmed_mean`.

    Attributes:
        scale: Factor of the trimmed mean; `lambda` in a recipe.
        trim: Share of the contributions left out at either end.
    """

    trim: float = Field(
        default=0.2, ge=0, lt=0.5, description="share of the contributions left out at either end, rounded up"
    )

    def left_out(self, count: int) -> int:
        """Return how many of `count` values are left out at either end; at least one stays."""
        return min(math.ceil(self.trim * count - 1e-9), (count - 1) // 2)


def median(problem: StaticProblem, schedule: Schedule[TaskArithmeticParameters, NoParameters]) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * median_i(tau_i), each coordinate by itself.

    Of an even number it is the mean of the two in the middle.

    Source: Yin et al., "Byzantine-Robust Distributed Learning", definition 1 (arXiv:1803.01498), with task
    vectors in the gradients' place.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda.
    """
    return _mean_of_middle(schedule, lambda _, count: (count - 1) // 2)


def trimmed_mean(
    problem: StaticProblem, schedule: Schedule[TrimmedMeanParameters, NoParameters]
) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * (the mean of the tau_i but the largest and the smallest).

    Each coordinate is trimmed by itself: of n values ceil(trim * n) are left out at either end, but one or
    two always stay.

    Source: Yin et al., "Byzantine-Robust Distributed Learning", definition 2 (arXiv:1803.01498), with task
    vectors in the gradients' place.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and trim.
    """
    return _mean_of_middle(schedule, lambda parameters, count: parameters.left_out(count))


def _mean_of_middle(
    schedule: Schedule[Own, NoParameters], left_out: Callable[[Own, int], int]
) -> StaticMerge:
    def merged(part: Part) -> Tensor:
        parameters = schedule[part.name].parameters
        base = part.base()
        ordered = sort(list(part.task_vectors(base)))
        drop = left_out(parameters, len(ordered))
        kept = ordered[drop : len(ordered) - drop]
        total = torch.zeros_like(base)
        for values in kept:
            total.add_(values)
        return base.add_(total.mul_(parameters.scale / len(kept)))

    return StaticMerge(merged)


def sort(values: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors of which the first holds the smallest value of each coordinate, the last the largest.

    Neighbours are put in order in as many rounds as there are tensors (odd-even transposition): a minimum
    and a maximum are far faster than a sort along a short dimension.
    """
    ordered = list(values)
    for turn in range(len(ordered)):
        for left in range(turn % 2, len(ordered) - 1, 2):
            low, high = ordered[left], ordered[left + 1]
            ordered[left], ordered[left + 1] = torch.minimum(low, high), torch.maximum(low, high)
    return ordered


PAPER = 'Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018, arXiv:1803.01498'
MEDIAN = MethodInfo(
    name="median",
    summary="adds the median of the task vectors, coordinate by coordinate",
    paper=PAPER,
    kind="static",
    run=median,
    parameters=TaskArithmeticParameters,
)
TRIMMED_MEAN = MethodInfo(
    name="trimmed_mean",
    summary="adds the mean of the task vectors without the largest and smallest, coordinate by coordinate",
    paper=PAPER,
    kind="static",
    run=trimmed_mean,
    parameters=TrimmedMeanParameters,
)
