"""WUDI: the matrix that interferes least with the directions each task vector spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.matrices import MatrixParameters, mean
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class WudiParameters(MatrixParameters):
    """Parameters of `wudi`.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        exclude: Parts of the names of matrices that are treated as other tensors are.
        steps: Steps of Adam on each matrix.
        lr: Step size of Adam.
        others: What becomes of tensors that are no matrices.
    """

    exclude: str = Field(
        default="embedding,text_projection,visual_projection,visual.proj",
        description="parts of names, separated by commas: such matrices are treated as other tensors are",
    )
    steps: int = Field(default=300, ge=0, description="steps of Adam on each matrix")
    lr: float = Field(default=1e-5, gt=0, description="step size of Adam")
    others: Literal["base", "average"] = Field(
        default="base", description="what becomes of other tensors: the base's, or the mean of task vectors"
    )


def run(problem: StaticProblem, schedule: Schedule[WudiParameters, NoParameters]) -> StaticMerge:
    """Merge each matrix by theta_0 + lambda * W, with W fitted to all task vectors by Adam.

    W starts at sum_i tau_i and lowers sum_i ||(W - tau_i) tau_i^T||^2 / ||tau_i||^2 (Frobenius norms). The
    gradient, 2 (W G - H) with G = sum_i tau_i^T tau_i / ||tau_i||^2 and H = sum_i tau_i tau_i^T tau_i /
    ||tau_i||^2, costs one product of matrices a step, whatever the number of tasks. Task vectors of zeros do
    not take part.

    Source: Cheng et al., "Whoever Started the Interference Should End It", section 4 (arXiv:2503.08099);
    other tensors stay the base's, as in the authors' code.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, excluded names, steps, step size, and what becomes of other tensors.
    """

    def merged(part: Part) -> Tensor:
        parameters = schedule[part.name].parameters
        base = part.base()
        if not parameters.covers(part):
            if parameters.others == "base":
                return base
            return base.add_(mean(list(part.task_vectors(base))).mul_(parameters.scale).to(base))
        total = _least_interference(list(part.task_vectors(base)), parameters)
        return base.add_(total.mul_(parameters.scale).to(base))

    return StaticMerge(merged, whole=True)


def _least_interference(taus: Sequence[Tensor], parameters: WudiParameters) -> Tensor:
    matrix = torch.zeros_like(taus[0])
    gram = matrix.new_zeros(matrix.shape[1], matrix.shape[1])
    target = torch.zeros_like(matrix)
    for tau in taus:
        matrix.add_(tau)
        if (square := float(tau.double().square().sum())) > 0:
            own = (tau.T @ tau).div_(square)
            gram.add_(own)
            target.add_(tau @ own)
    optimiser = torch.optim.Adam([matrix], lr=parameters.lr)
    for _ in range(parameters.steps):
        matrix.grad = (matrix @ gram).sub_(target).mul_(2)
        optimiser.step()
    return matrix


INFO = MethodInfo(
    name="wudi",
    summary="optimises each matrix to interfere least with the directions that each task vector spans",
    paper='Cheng et al., "Whoever Started the Interference Should End It", ICML 2025, arXiv:2503.08099',
    kind="static",
    run=run,
    parameters=WudiParameters,
)
