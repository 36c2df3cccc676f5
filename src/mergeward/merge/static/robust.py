"""Robust means of whole task vectors: the geometric median, and multi-Krum."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from pydantic import Field

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.gram import Floats, along_span, grams, norms
from mergeward.merge.static.problem import StaticMerge, StaticProblem
from mergeward.merge.static.task_arithmetic import TaskArithmeticParameters

Own = TypeVar("Own", bound=TaskArithmeticParameters)

MAX_STEPS = 1000
TOLERANCE = 1e-12


class KrumParameters(TaskArithmeticParameters):
    """Parameters of `multi_krum`.

    Attributes:
        scale: Factor of the mean of the chosen task vectors; `lambda` in a recipe.
        byzantine: How many contributions may be hostile.
        selected: How many are averaged.
    """

    byzantine: int | None = Field(
        default=None,
        ge=0,
        description="how many contributions may be hostile (f in the paper); by default the most that n "
        "contributions bear, (n - 3) // 2",
    )
    selected: int | None = Field(
        default=None, ge=1, description="how many contributions are averaged; by default n - byzantine"
    )


def geometric_median(
    problem: StaticProblem, schedule: Schedule[TaskArithmeticParameters, NoParameters]
) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * m, where m has the least summed distance to the task vectors.

    Distances are those of whole task vectors over the scope. m is found by Weiszfeld's algorithm. It is a
    mean of the task vectors with weights, so their inner products, found in one pass, are all it needs.

    Source: Pillutla et al., "Robust Aggregation for Federated Learning", algorithm 2 (arXiv:1912.13445).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda.
    """
    shares = weiszfeld(sum(grams(problem).values(), _nothing(problem)))
    return _scaled(problem, schedule, shares)


def weiszfeld(gram: Floats) -> Floats:
    """Return the weights, which add up to 1, of the geometric median of vectors with these inner products."""
    count = len(gram)
    shares = np.full(count, 1 / count)
    # A distance of zero is taken as very small, as in the source.
    smallest = 1e-9 * float(norms(gram).max()) or 1.0
    for _ in range(MAX_STEPS):
        squared = np.diagonal(gram) - 2 * gram @ shares + shares @ gram @ shares
        pull = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)), smallest)
        before, shares = shares, pull / pull.sum()
        if np.abs(shares - before).max() < TOLERANCE:
            break
    return shares


def multi_krum(problem: StaticProblem, schedule: Schedule[KrumParameters, NoParameters]) -> StaticMerge:
    """Merge by theta = theta_0 + lambda * (the mean of the task vectors closest to their neighbours).

    With f hostile contributions of n, the score of one is the sum of its squared distances to the
    n - f - 2 nearest others (at least one), over whole task vectors. The contributions of lowest score are
    averaged; of equal scores, those whose name sorts first.

    Source: Blanchard et al., "Machine Learning with Adversaries", section 4 (NeurIPS 2017, arXiv:1703.02757).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, byzantine and selected.

    Raises:
        RecipeError: More contributions are hostile or selected than there are, or they vary by tensor.
    """
    parameters = schedule.uniform("multi_krum", "byzantine", "selected").parameters
    count = len(problem.contributions)
    hostile = max((count - 3) // 2, 0) if parameters.byzantine is None else parameters.byzantine
    bearable = max(count - 3, 0)
    if hostile > bearable:
        raise RecipeError(
            f"parameters.byzantine: {hostile} of {count} models is too many; at most {bearable} can be told"
        )
    selected = parameters.selected or count - hostile
    if selected > count:
        raise RecipeError(f"parameters.selected: {selected}, there are {count} models")
    scores = krum_scores(sum(grams(problem).values(), _nothing(problem)), hostile)
    ranked = sorted(range(count), key=lambda index: (scores[index], problem.names[index]))
    shares = np.zeros(count)
    shares[ranked[:selected]] = 1 / selected
    return _scaled(problem, schedule, shares)


def krum_scores(gram: Floats, hostile: int) -> list[float]:
    """Return the score of each vector: the lower, the closer it is to others."""
    squares = np.diagonal(gram)
    # Rounding may leave equal vectors at a distance; nothing nearer than that is told apart.
    squared = np.maximum(squares[:, None] + squares - 2 * gram, 0)
    squared[squared < 1e-13 * (squares[:, None] + squares)] = 0
    np.fill_diagonal(squared, np.inf)
    nearest = np.sort(squared, axis=1)[:, : max(len(gram) - hostile - 2, 1)]
    return [float(row.sum()) for row in nearest]


def _nothing(problem: StaticProblem) -> Floats:
    return np.zeros((len(problem.contributions),) * 2)


def _scaled(problem: StaticProblem, schedule: Schedule[Own, NoParameters], shares: Floats) -> StaticMerge:
    return along_span({name: schedule[name].parameters.scale * shares for name in problem.scope})


GEOMETRIC_MEDIAN = MethodInfo(
    name="geometric_median",
    summary="adds the task vector that has the least summed distance to those given",
    paper='Pillutla et al., "Robust Aggregation for Federated Learning", IEEE TSP 2022, arXiv:1912.13445',
    kind="static",
    run=geometric_median,
    parameters=TaskArithmeticParameters,
)
MULTI_KRUM = MethodInfo(
    name="multi_krum",
    summary="averages the task vectors that are closest to their neighbours and leaves out the others",
    paper='Blanchard et al., "Machine Learning with Adversaries", NeurIPS 2017, arXiv:1703.02757',
    kind="static",
    run=multi_krum,
    parameters=KrumParameters,
)
