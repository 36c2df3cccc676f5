"""Breadcrumbs: leave out the largest and the smallest values of each task vector, and add the rest."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.rows import by_magnitude
from mergeward.merge.static.sparse import Dropped, SparseMerge, SparseParameters, Thin, uses_mergekit
from mergeward.merge.static.trim import tensor_cuts


class BreadcrumbsParameters(SparseParameters):
    """Parameters of `breadcrumbs`; `rescale` restores each tensor's L1 norm."""

    rescale: bool = Field(default=False, description="restore each tensor's L1 norm, as mergekit can")


class Banded(Dropped):
    """Per-model parameters of `breadcrumbs`.

    Attributes:
        weight: Factor of this model's task vector.
        density: Share of this model's task vector that is kept.
        gamma: Share, largest magnitudes first, that is left out.
    """

    gamma: float = Field(
        default=0.01, ge=0, le=1, description="share of the task vector, largest magnitudes first, left out"
    )


Settings: TypeAlias = Schedule[BreadcrumbsParameters, Banded]


def run(problem: StaticProblem, schedule: Settings, *, elect: bool) -> StaticMerge:
    """Merge by Breadcrumbs: of each task vector leave out the largest, keep the next largest, and add.

    theta = theta_0 + lambda * sum_i weight_i * (m_i * tau_i). Of n values the int(gamma * n) largest
    magnitudes are left out and the int(density * n) next are kept; of equal ones the first are the larger.

    - reference: in each row (along the last dimension); single numbers are kept whole.
    - mergekit: in each tensor. Where density and gamma together exceed the tensor, gamma gives way; a density
      of 1 keeps all. Unlike in mergekit, a gamma that leaves out no value (int(gamma * n) = 0) does not
      leave out all.

    With `elect` each coordinate first elects a sign, as in TIES.

    Source: Davari and Belilovsky, "Model Breadcrumbs", section 3.2 (arXiv:2312.06795), and the authors' code.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, semantics, `normalize` and `rescale`; weight, density and gamma of each
            contribution.
        elect: Whether signs are elected.

    Raises:
        RecipeError: Semantics that vary by tensor, or with `elect` a mean with a negative weight.
    """
    mergekit = uses_mergekit("breadcrumbs", schedule)
    thin = _tensor_bands(problem, schedule) if mergekit else _row_bands(problem, schedule)
    return SparseMerge(problem, schedule, thin, elect=elect, rows=not mergekit, l1_rescale=True).merge()


def _row_bands(problem: StaticProblem, schedule: Settings) -> Thin:
    def thin(part: Part, index: int, tau: Tensor) -> Tensor:
        if not problem.base.tensors[part.name].shape:
            return tau
        model, width = schedule[part.name].models[index], tau.shape[1]
        first = int(model.gamma * width)
        kept = by_magnitude(tau)[:, first : first + int(model.density * width)]
        mask = np.zeros(tau.shape, np.float32)
        np.put_along_axis(mask, kept, 1.0, axis=1)
        return tau.mul_(torch.from_numpy(mask).to(tau.device))

    return thin


def _tensor_bands(problem: StaticProblem, schedule: Settings) -> Thin:
    def band(model: Banded, size: int) -> tuple[int, int]:
        """How many are too large, and how many those and the kept are together."""
        kept = int(model.density * size)
        left_out = 0 if model.density == 1 else min(int(model.gamma * size), size - kept)
        return left_out, left_out + kept

    def cuts(end: int) -> Thin:
        found = tensor_cuts(
            problem, lambda name, size: [band(model, size)[end] for model in schedule[name].models]
        )
        return lambda part, index, tau: found[part.name][index].keep(tau, part.start)

    too_large, large = cuts(0), cuts(1)

    def thin(part: Part, index: int, tau: Tensor) -> Tensor:
        return large(part, index, tau).sub(too_large(part, index, tau))

    return thin


PAPER = 'Davari and Belilovsky, "Model Breadcrumbs", ECCV 2024, arXiv:2312.06795'
LINEAR = MethodInfo(
    name="breadcrumbs",
    summary="leaves out the largest and the smallest values of each task vector and adds the rest",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=False),
    parameters=BreadcrumbsParameters,
    model_parameters=Banded,
)
TIES = MethodInfo(
    name="breadcrumbs_ties",
    summary="leaves out the largest and the smallest values of each task vector and adds what agrees in sign",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=True),
    parameters=BreadcrumbsParameters,
    model_parameters=Banded,
)
