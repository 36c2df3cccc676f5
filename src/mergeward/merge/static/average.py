"""Weight averaging: the weighted mean of the contributions."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, NoParameters, Parameters
from mergeward.merge.static.problem import StaticMerge, StaticProblem


class Share(Parameters):
    """Per-model parameters of `average`.

    Attributes:
        weight: This model's share in the mean, relative to the others'.
    """

    weight: float = Field(default=1.0, ge=0, description="share in the mean, relative to the others'")


def run(problem: StaticProblem, parameters: NoParameters, model_parameters: Sequence[Share]) -> StaticMerge:
    """Merge by theta = sum_i weight_i * theta_i / sum_i weight_i.

    The mean is updated one contribution at a time, mean += (theta_i - mean) * weight_i / (weights so far),
    so that equal contributions give themselves exactly. Source: Wortsman et al., "Model soups", the uniform
    soup (arXiv:2203.05482), with weights.

    Args:
        problem: The base (not used), its contributions and the scope.
        parameters: None.
        model_parameters: One weight for each contribution.

    Returns:
        A function from a tensor's name to its merged value.

    Raises:
        RecipeError: All weights are zero.
    """
    taking_part = [(index, model.weight) for index, model in enumerate(model_parameters) if model.weight > 0]
    if not taking_part:
        raise RecipeError("models[].parameters.weight: all are zero; average needs one above zero")

    def merged(name: str) -> Tensor:
        first, total = taking_part[0]
        mean = problem.contribution_values(first, name)
        for index, weight in taking_part[1:]:
            total += weight
            # Multiply, then add, for the reason given in task_arithmetic.
            mean.add_(problem.task_vector(index, name, mean).mul_(weight / total))
        return mean

    return merged


INFO = MethodInfo(
    name="average",
    summary="takes the weighted mean of the contributions",
    paper='Wortsman et al., "Model soups", ICML 2022, arXiv:2203.05482',
    kind="static",
    run=run,
    parameters=NoParameters,
    model_parameters=Share,
    needs_base=False,
)
