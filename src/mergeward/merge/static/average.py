"""Weight averaging: the weighted mean of the contributions."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, NoParameters, Parameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class Share(Parameters):
    """Per-model parameters of `average`.

    Attributes:
        weight: This model's share in the mean, relative to the others'.
    """

    weight: float = Field(default=1.0, ge=0, description="share in the mean, relative to the others'")


def run(problem: StaticProblem, schedule: Schedule[NoParameters, Share]) -> StaticMerge:
    """Merge by theta = sum_i weight_i * theta_i / sum_i weight_i.

    The mean is updated one contribution at a time, mean += (theta_i - mean) * weight_i / (weights so far),
    so that equal contributions give themselves exactly. Source: Wortsman et al., "Model soups", the uniform
    soup (arXiv:2203.05482), with weights.

    Args:
        problem: The base (not used), its contributions and the scope.
        schedule: One weight for each contribution.

    Raises:
        RecipeError: All weights are zero.
    """
    for name in problem.scope:
        if not any(model.weight for model in schedule[name].models):
            raise RecipeError("models[].parameters.weight: all are zero; average needs one above zero")

    def merged(part: Part) -> Tensor:
        models = schedule[part.name].models
        first, *others = (index for index, model in enumerate(models) if model.weight > 0)
        mean, total = part.contribution(first), models[first].weight
        for index in others:
            total += models[index].weight
            # Multiply, then add, for the reason given in task_arithmetic.
            mean.add_(part.task_vector(index, mean).mul_(models[index].weight / total))
        return mean

    return StaticMerge(merged)


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
