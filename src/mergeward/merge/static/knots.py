"""KnOTS: merge task vectors in the singular basis that they share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.election import elected, weighted
from mergeward.merge.static.matrices import MatrixParameters, mean, singular_triplets
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class KnotsParameters(MatrixParameters):
    """Parameters of `knots`.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        exclude: Parts of the names of matrices that are treated as other tensors are.
        density: Share of each task's aligned coordinates, largest magnitudes first, that is kept.
    """

    density: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="share of each task's aligned coordinates, largest magnitudes first, that is kept",
    )


def run(problem: StaticProblem, schedule: Schedule[KnotsParameters, Weighted]) -> StaticMerge:
    """Merge matrices by theta_0 + lambda * U S TIES(V_1, ..., V_T), other tensors by their weighted sum.

    [tau_1 ... tau_T] = U S [V_1 ... V_T]: in the basis U S, which all tasks share, coordinates of different
    tasks mean the same, as those of task vectors that low-rank adapters made do not. TIES trims each V_i
    to its largest magnitudes, elects a sign for each coordinate by the weighted sum, and takes the mean of
    the weighted values that agree. Works on any matrices; for adapters the rank of the stack is small. T
    task vectors of one tensor are held at a time.

    Source: Stoica et al., "Model merging with SVD to tie the Knots", section 4 (arXiv:2410.19735).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, excluded names and density; one weight for each contribution.

    Raises:
        RecipeError: A weight is negative.
    """
    for name in problem.scope:
        if any(model.weight < 0 for model in schedule[name].models):
            raise RecipeError("models[].parameters.weight: knots takes a mean; no weight may be below zero")

    def merged(part: Part) -> Tensor:
        parameters, models = schedule[part.name]
        weights = [model.weight for model in models]
        base = part.base()
        taus = list(part.task_vectors(base))
        if parameters.covers(part):
            total = _aligned(taus, weights, parameters.density)
        else:
            total = mean([tau.mul_(weight) for tau, weight in zip(taus, weights, strict=True)]) * len(taus)
        return base.add_(total.mul(parameters.scale).to(base))

    return StaticMerge(merged, whole=True)


def _aligned(taus: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    left, values, right = singular_triplets(torch.cat(list(taus), dim=1))
    votes = weighted([_trimmed(one, density) for one in right.split(taus[0].shape[1], dim=1)], weights)
    return (left * values) @ votes.aggregated(elected(votes.mass()), "mean").double()


def _trimmed(values: Tensor, density: float) -> Tensor:
    count = values.numel() - int(values.numel() * density)
    single = values.to(torch.float32)
    if count == 0:
        return single
    threshold = single.abs().flatten().kthvalue(count).values
    return single.masked_fill(single.abs() < threshold, 0.0)


INFO = MethodInfo(
    name="knots",
    summary="merges matrices by TIES in the singular basis that all task vectors share",
    paper='Stoica et al., "Model merging with SVD to tie the Knots", ICLR 2025, arXiv:2410.19735',
    kind="static",
    run=run,
    parameters=KnotsParameters,
    model_parameters=Weighted,
)
