"""TIES: trim each task vector, elect a sign per coordinate, add what agrees with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, Parameters, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.magnitude import kth_magnitudes
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class TiesParameters(Parameters):
    """Parameters of `ties`.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        normalize: Whether to divide each coordinate's sum by the weights of the contributions that agree
            with its elected sign.
    """

    scale: float = Field(default=1.0, alias="lambda", description="factor of the merged task vector")
    normalize: bool = Field(
        default=False,
        description="divide by the weights of the contributions that agree (the paper's disjoint mean); "
        "false adds them up, as in its authors' vision experiments",
    )


class Trimmed(Weighted):
    """Per-model parameters of `ties`.

    Attributes:
        weight: Factor of this model's task vector.
        density: Share of this model's task vector, largest magnitudes first, that is kept.
    """

    density: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="share of the task vector, largest magnitudes first, that is kept",
    )


@dataclass(frozen=True)
class _Sides:
    """What pulls each coordinate up, and what pulls it down.

    Sums and signs are taken of weight_i * tau_i in units of the largest weight: equal weights then cancel
    exactly where the task vectors do. float64 keeps those sums free of rounding in all but name.
    """

    positive: Tensor
    negative: Tensor
    positive_weight: Tensor | None
    negative_weight: Tensor | None

    @property
    def mass(self) -> Tensor:
        return self.positive + self.negative


class Ties:
    """TIES over one problem; see `run`."""

    def __init__(self, problem: StaticProblem, schedule: Schedule[TiesParameters, Trimmed]) -> None:
        self._problem = problem
        self._schedule = schedule
        models = schedule.uniform("ties", "density").models
        self._thresholds = trim_thresholds(problem, [model.density for model in models])

    def merged(self, part: Part) -> Tensor:
        """Return the merged values of one part, float32."""
        parameters, models = self._schedule[part.name]
        base = part.base()
        sides = self._sides(part, base)
        up = sides.mass > 0
        undecided = (sides.mass == 0) & (sides.positive > 0)
        if bool(undecided.any()) and self._majority > 0:
            up |= undecided
        total = torch.where(up, sides.positive, sides.negative)
        if sides.positive_weight is not None and sides.negative_weight is not None:
            weight = torch.where(up, sides.positive_weight, sides.negative_weight)
            total = torch.where(weight == 0, 0.0, total / weight)
        else:
            total.mul_(_unit(models))
        return base.add_(total.mul_(parameters.scale).to(torch.float32))

    @cached_property
    def _majority(self) -> int:
        """The sign that most coordinates elect, for those whose sum is zero; +1 if there is none.

        It costs a pass over all task vectors, so it is looked for only when some coordinate needs it.
        """

        def balance(part: Part) -> int:
            return int(torch.sign(self._sides(part, part.base()).mass).sum(dtype=torch.int64))

        return 1 if sum(self._problem.map(balance, "electing the majority sign")) >= 0 else -1

    def _sides(self, part: Part, base: Tensor) -> _Sides:
        parameters, models = self._schedule[part.name]
        unit = _unit(models)
        positive, negative = (torch.zeros_like(base, dtype=torch.float64) for _ in range(2))
        weigh = parameters.normalize
        positive_weight, negative_weight = (torch.zeros_like(positive) if weigh else None for _ in range(2))
        for model, tau, threshold in zip(models, part.task_vectors(base), self._thresholds, strict=True):
            tau.masked_fill_(tau.abs() < threshold, 0.0)
            values = tau.to(torch.float64).mul_(model.weight / unit)
            positive += values.clamp(min=0)
            negative += values.clamp(max=0)
            if positive_weight is not None and negative_weight is not None:
                positive_weight += (values > 0).to(torch.float64).mul_(model.weight / unit)
                negative_weight += (values < 0).to(torch.float64).mul_(model.weight / unit)
        return _Sides(positive, negative, positive_weight, negative_weight)


def _unit(models: Sequence[Trimmed]) -> float:
    return max(abs(model.weight) for model in models) or 1.0


def trim_thresholds(problem: StaticProblem, densities: Sequence[float]) -> list[float]:
    """Return for each contribution the magnitude below which its task vector is trimmed.

    It is the k-th smallest magnitude over the whole scope, k = d - int(d * density) for d coordinates, as in
    the authors' code; coordinates at the threshold are kept. Density 1 trims nothing.

    Args:
        problem: The base, its contributions and the scope.
        densities: The share to keep of each contribution, in (0, 1].

    Returns:
        One threshold for each contribution; 0.0 where nothing is trimmed.
    """
    size = sum(problem.base.tensors[name].numel for name in problem.scope)
    ranks = {index: size - int(size * density) for index, density in enumerate(densities)}
    found = kth_magnitudes(problem, {index: rank for index, rank in ranks.items() if rank > 0})
    return [found.get(index, 0.0) for index in ranks]


def run(problem: StaticProblem, schedule: Schedule[TiesParameters, Trimmed]) -> StaticMerge:
    """Merge by TIES: trim, elect a sign, add up what agrees.

    Each task vector keeps its largest magnitudes, ranked over the whole scope at once. A coordinate's sign is
    that of the weighted sum of the trimmed values; where that sum is zero it is the sign that most
    coordinates elect. theta = theta_0 + lambda * (sum of weight_i * tau_i over the contributions whose value
    has the elected sign), divided by their weights if `normalize`.

    Source: Yadav et al., "TIES-Merging", section 4.1 (arXiv:2306.01708); rank and zero rule as in
    the authors' code.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and `normalize`; weight and density of each contribution.

    Returns:
        The merge. The thresholds are known when it is returned: two passes over all task vectors.

    Raises:
        RecipeError: `normalize` with a negative weight, or a density that varies by tensor.
    """
    for name in problem.scope:
        parameters, models = schedule[name]
        negative = [model.weight for model in models if model.weight < 0]
        if parameters.normalize and negative:
            raise RecipeError(
                f"parameters.normalize: ties cannot divide by the negative weight {negative[0]:g}; "
                f"set it to false or the weight to zero or more"
            )
    return StaticMerge(Ties(problem, schedule).merged)


INFO = MethodInfo(
    name="ties",
    summary="trims each task vector, elects a sign per coordinate and adds what agrees with it",
    paper='Yadav et al., "TIES-Merging", NeurIPS 2023, arXiv:2306.01708',
    kind="static",
    run=run,
    parameters=TiesParameters,
    model_parameters=Trimmed,
)
