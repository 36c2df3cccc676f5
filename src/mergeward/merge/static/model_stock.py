"""Model Stock: go from the base towards the mean of the contributions, as far as their angle says."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters, Parameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.gram import Floats, along_span, cosines, gram_matrix, grams, task_vectors
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.rows import by_rows


class StockParameters(Parameters):
    """Parameters of `model_stock`.

    Attributes:
        filter_wise: Whether angles are measured for each row of a tensor instead of the whole.
    """

    filter_wise: bool = Field(default=False, description="measure angles row by row instead of by tensor")


def run(problem: StaticProblem, schedule: Schedule[StockParameters, NoParameters]) -> StaticMerge:
    """Merge by theta = theta_0 + t * mean_i(tau_i), t = N cos / (1 + (N - 1) cos), for each tensor.

    For N contributions cos is the mean of the cosines of each two task vectors, as in mergekit; the paper has
    one angle for all. A mean below zero counts as zero, and t is then 0: the formula has a pole at
    -1 / (N - 1). Task vectors of zeros are at right angles to all.

    Source: Jang et al., "Model Stock", equation 7 (arXiv:2403.19522).

    Args:
        problem: The base, its contributions and the scope.
        schedule: filter_wise.

    Raises:
        RecipeError: filter_wise varies by tensor.
    """
    if schedule.uniform("model_stock", "filter_wise").parameters.filter_wise:
        return by_rows(_merged_rows)
    count = len(problem.contributions)
    ratios = {name: ratio(gram) for name, gram in grams(problem).items()}
    return along_span({name: np.full(count, float(t) / count) for name, t in ratios.items()})


def ratio(gram: Floats) -> Floats:
    """Return how far to go from the base to the mean, in [0, 1].

    Args:
        gram: Inner products of the task vectors, `[..., N, N]`.
    """
    count = gram.shape[-1]
    pairs = cosines(gram)[..., *np.triu_indices(count, 1)]
    cosine = np.maximum(pairs.mean(axis=-1), 0)
    t: Floats = count * cosine / (1 + (count - 1) * cosine)
    return t


def _merged_rows(part: Part) -> Tensor:
    base = part.base()
    stacked = torch.stack(task_vectors(part), dim=1)
    t = torch.from_numpy(ratio(gram_matrix(stacked))).to(base)
    return base.add_(stacked.mean(1).mul_(t[:, None]))


INFO = MethodInfo(
    name="model_stock",
    summary="goes from the base towards the mean of the contributions as far as the angle between them says",
    paper='Jang et al., "Model Stock", ECCV 2024, arXiv:2403.19522',
    kind="static",
    run=run,
    parameters=StockParameters,
    min_contributions=2,
)
