"""DELLA: drop values of each task vector at random, small ones more often, make up for them, and add."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo
from mergeward.merge.settings import Schedule
from mergeward.merge.static.draws import bernoulli
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.rows import by_magnitude
from mergeward.merge.static.sparse import Dropped, SparseMerge, SparseParameters, uses_mergekit

EPSILON = {"reference": 0.05, "mergekit": 0.15}


class DellaParameters(SparseParameters):
    """Parameters of `della`; the values that agree are averaged by default."""

    normalize: bool = Field(default=True, description="divide by the weights that agree")


class Ranked(Dropped):
    """Per-model parameters of `della`.

    Attributes:
        weight: Factor of this model's task vector.
        density: Share of this model's task vector that is kept, on average over a row.
        epsilon: How far the probability to be kept goes from the density at a row's ends; by default that
            of the semantics.
    """

    epsilon: float | None = Field(
        default=None,
        ge=0,
        le=0.5,
        description="how far a row's least and largest values go from the density in their probability to be "
        "kept; by default 0.05 for reference and 0.15 for mergekit",
    )

    def margin(self, semantics: str) -> float:
        """Return epsilon, or that of the semantics."""
        return EPSILON[semantics] if self.epsilon is None else self.epsilon


Settings: TypeAlias = Schedule[SparseParameters, Ranked]


def run(problem: StaticProblem, schedule: Settings, *, elect: bool) -> StaticMerge:
    """Merge by DELLA: keep each value with a probability that grows with its rank, rescale, and add.

    Within a row (along the last dimension) the probability to be kept goes from density - epsilon for the
    smallest magnitude to density + epsilon for the largest, linearly in the rank; of equal magnitudes the
    first counts as larger. A row of one value has the density itself. With `elect` each coordinate elects a
    sign, as in TIES, and the values that agree are averaged (`normalize`).

    - reference: what is kept is divided by its probability, so that its expectation is the task vector.
    - mergekit: what is kept is multiplied by the ratio of the L1 norms of the tensor before and after.
      mergekit ranks a tensor of more than two dimensions along its second one; this does not.

    A density of 1 drops nothing and 0 drops all.

    Source: Deep et al., "DELLA-Merging", section 3 (arXiv:2406.11617), and the authors' code.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, semantics, `normalize` and `rescale`; weight, density and epsilon of each
            contribution.
        elect: Whether signs are elected.

    Raises:
        RecipeError: A density whose margins leave (0, 1), semantics that vary by tensor, or with `elect` a
            mean with a negative weight.
    """
    mergekit = uses_mergekit("della", schedule)
    for name in problem.scope:
        for model in schedule[name].models:
            _check(model, schedule[name].parameters.semantics)

    def thin(part: Part, index: int, tau: Tensor) -> Tensor:
        parameters, models = schedule[part.name]
        model, width = models[index], tau.shape[1]
        if model.density in {0, 1}:
            return tau.mul_(model.density)
        probability = _probabilities(width, model.density, model.margin(parameters.semantics))
        kept = bernoulli(part.generator("della", index), tau.shape, probability).astype(np.float32)
        if parameters.rescale and not mergekit:
            kept /= probability.astype(np.float32)
        factors = np.empty_like(kept)
        np.put_along_axis(factors, by_magnitude(tau), kept, axis=1)
        return tau.mul_(torch.from_numpy(factors).to(tau.device))

    return SparseMerge(problem, schedule, thin, elect=elect, rows=True, l1_rescale=mergekit).merge()


def _probabilities(width: int, density: float, epsilon: float) -> NDArray[np.float64]:
    """Return the probability to be kept of each value of a row, largest magnitude first."""
    if width == 1:
        return np.array([density])
    return np.linspace(density + epsilon, density - epsilon, width)


def _check(model: Ranked, semantics: str) -> None:
    margin = model.margin(semantics)
    if model.density not in {0, 1} and not margin < model.density < 1 - margin:
        raise RecipeError(
            f"models[].parameters.epsilon: density {model.density:g} needs an epsilon below "
            f"{min(model.density, 1 - model.density):g}, found {margin:g}"
        )


PAPER = 'Deep et al., "DELLA-Merging", 2024, arXiv:2406.11617'
TIES = MethodInfo(
    name="della",
    summary="drops small values of each task vector more often, makes up for them and averages what agrees",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=True),
    parameters=DellaParameters,
    model_parameters=Ranked,
)
LINEAR = MethodInfo(
    name="della_linear",
    summary="drops small values of each task vector more often, makes up for them and adds",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=False),
    parameters=SparseParameters,
    model_parameters=Ranked,
)
