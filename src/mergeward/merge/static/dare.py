"""DARE: drop values of each task vector at random, make up for them, and add."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mergeward.merge.method import MethodInfo
from mergeward.merge.settings import Schedule
from mergeward.merge.static.draws import bernoulli
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.sparse import Dropped, SparseMerge, SparseParameters, uses_mergekit

Settings: TypeAlias = Schedule[SparseParameters, Dropped]


def run(problem: StaticProblem, schedule: Settings, *, elect: bool) -> StaticMerge:
    """Merge by DARE: keep each value with probability `density`, rescale, and add.

    theta = theta_0 + lambda * sum_i weight_i * (m_i * tau_i) / density_i with m_i ~ Bernoulli(density_i),
    independent for each value and contribution. With `elect` each coordinate first elects a sign, as in
    TIES, and only what agrees is added; a sum of zero elects +1.

    - reference: what is kept is divided by the density, so that its expectation is the task vector.
    - mergekit: what is kept is multiplied by the ratio of the L1 norms of the tensor before and after (since
      February 2025; before, it was as in the reference). In small tensors that is biased.
    - peft: rescaled as in the reference. With `elect` the sum that elects is unweighted, and what agrees is
      averaged: the weighted sum is divided by the number of contributions that agree.

    A density of 1 drops nothing and 0 drops all.

    Source: Yu et al., "Language Models are Super Mario", section 3.2 (arXiv:2311.03099).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, semantics, `normalize` and `rescale`; weight and density of each contribution.
        elect: Whether signs are elected.

    Raises:
        RecipeError: Semantics that vary by tensor, or with `elect` a mean with a negative weight.
    """
    mergekit = uses_mergekit("dare", schedule)

    def thin(part: Part, index: int, tau: Tensor) -> Tensor:
        parameters, models = schedule[part.name]
        density = models[index].density
        if density == 1:
            return tau
        kept = bernoulli(part.generator("dare", index), part.shape, density)
        tau.mul_(torch.from_numpy(kept.astype(np.float32)).to(tau.device))
        return tau.mul_(1 / density) if parameters.rescale and not mergekit and density else tau

    return SparseMerge(problem, schedule, thin, elect=elect, l1_rescale=mergekit).merge()


PAPER = 'Yu et al., "Language Models are Super Mario", ICML 2024, arXiv:2311.03099'
LINEAR = MethodInfo(
    name="dare_linear",
    summary="drops values of each task vector at random, makes up for them and adds",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=False),
    parameters=SparseParameters,
    model_parameters=Dropped,
)
TIES = MethodInfo(
    name="dare_ties",
    summary="drops values of each task vector at random, makes up for them and adds what agrees in sign",
    paper=PAPER,
    kind="static",
    run=partial(run, elect=True),
    parameters=SparseParameters,
    model_parameters=Dropped,
)
