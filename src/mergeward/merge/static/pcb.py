"""PCB: weigh each coordinate by how it competes within its task vector and with those of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.magnitude import Found, kth_magnitudes, select
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.task_arithmetic import TaskArithmeticParameters

OUTLIERS = 1e-4
"""Share of the magnitudes at either end that are cut down to the next, as in the authors' code."""


class PcbParameters(TaskArithmeticParameters):
    """Parameters of `pcb`.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        ratio: Share of each task vector's coordinates that are kept.
    """

    ratio: float = Field(
        default=0.1, gt=0, le=1, description="share of each task vector's coordinates that are kept (r)"
    )


class _Bounds(NamedTuple):
    low: float
    high: float


class Competition:
    """What coordinates are worth over one problem; see `run`."""

    def __init__(self, problem: StaticProblem, ratio: float) -> None:
        self._size = sum(problem.base.tensors[name].numel for name in problem.scope)
        self._indices = range(len(problem.contributions))
        low, high = int(self._size * OUTLIERS), int(self._size * (1 - OUTLIERS) - 1)
        self._magnitudes = [
            _Bounds(least.value, most.value)
            for least, most in zip(self._ranked(problem, low), self._ranked(problem, high), strict=True)
        ]
        cut = min(int(self._size * (1 - ratio)), self._size - 1)
        cuts = select(problem.map, self._size, dict.fromkeys(self._indices, cut + 1), self._worths)
        largest = torch.stack(list(problem.map(self._largest, "measuring competition"))).amax(0).tolist()
        self._worth_bounds = [_Bounds(cuts[index].value, largest[index]) for index in self._indices]

    def merged(self, part: Part) -> Tensor:
        """Return the merged task vector of one part, float32."""
        base = part.base()
        taus = list(part.task_vectors(base))
        total, shares = torch.zeros_like(base), torch.zeros_like(base)
        for tau, worth, bounds, magnitudes in zip(
            taus, self._worth(taus), self._worth_bounds, self._magnitudes, strict=True
        ):
            share = _within(worth, bounds)
            shares.add_(share)
            total.add_(tau.sign().mul_(tau.abs().clamp_(magnitudes.low, magnitudes.high)).mul_(share))
        return total.div_(shares.clamp_(min=1e-12))

    def _ranked(self, problem: StaticProblem, place: int) -> list[Found]:
        found = kth_magnitudes(problem, dict.fromkeys(self._indices, max(place, 0) + 1))
        return [found[index] for index in self._indices]

    def _largest(self, part: Part) -> Tensor:
        # An empty tensor has no largest value; no worth is below zero.
        zero = torch.zeros(1)
        return torch.stack([torch.cat([worth, zero]).amax() for worth in self._worths(part, self._indices)])

    def _worths(self, part: Part, indices: Iterable[int]) -> Iterator[Tensor]:
        worths = self._worth(list(part.task_vectors(part.base())))
        return (worths[index] for index in indices)

    def _worth(self, taus: Sequence[Tensor]) -> list[Tensor]:
        """Return intra- times inter-balancing of each task vector; below zero, where tasks compete, zero."""
        total = torch.zeros_like(taus[0])
        for tau in taus:
            total.add_(tau)
        worths = []
        for tau, bounds in zip(taus, self._magnitudes, strict=True):
            within = _within(tau.abs().clamp_(*bounds), bounds).square_().mul_(len(taus)).exp_()
            worths.append(within.mul_(torch.mul(tau, total).tanh_()).clamp_(min=0))
        return worths


def _within(values: Tensor, bounds: _Bounds) -> Tensor:
    """Return values scaled from their bounds to [0, 1]; where the bounds are equal, 0."""
    low, high = bounds
    if high <= low:
        return torch.zeros_like(values)
    return values.clamp(min=low).sub_(low).div_(high - low)


def run(problem: StaticProblem, schedule: Schedule[PcbParameters, NoParameters]) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * (sum_i s_i * tau_i) / (sum_i s_i), coordinate by coordinate.

    What coordinate d of task i is worth is exp(T * n(|tau_i|)^2) * tanh(tau_i * sum_j tau_j), n scaling
    magnitudes to [0, 1]: how it stands within its task vector, times how it stands to the others. s_i is that
    worth above its (1 - ratio) quantile, scaled to [0, 1]. Quantiles and largest values are those of the
    whole scope, as in the authors' code; a quantile below zero counts as zero, so that no coordinate that
    the sum opposes is kept.

    Source: Du et al., "Parameter Competition Balancing for Model Merging", section 3 (arXiv:2410.02396).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and ratio.

    Returns:
        The merge. It costs a few passes over all task vectors first.

    Raises:
        RecipeError: The ratio varies by tensor.
    """
    competition = Competition(problem, schedule.uniform("pcb", "ratio").parameters.ratio)

    def merged(part: Part) -> Tensor:
        scale = schedule[part.name].parameters.scale
        return part.base().add_(competition.merged(part).mul_(scale))

    return StaticMerge(merged)


INFO = MethodInfo(
    name="pcb",
    summary="weighs each coordinate by how it competes within its task vector and with the others",
    paper='Du et al., "Parameter Competition Balancing for Model Merging", NeurIPS 2024, arXiv:2410.02396',
    kind="static",
    run=run,
    parameters=PcbParameters,
)
