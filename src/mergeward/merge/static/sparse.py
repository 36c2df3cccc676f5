"""What the methods share that make each task vector sparse before they add them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import Parameters, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.election import elected, unweighted, weighted
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.rows import by_rows

Thin: TypeAlias = Callable[[Part, int, Tensor], Tensor]
"""Given a part, which contribution, and its task vector (which may be overwritten): what is left of it."""


class SparseParameters(Parameters):
    """Parameters of the methods that make task vectors sparse.

    Attributes:
        semantics: The paper's authors' rules, mergekit's or PEFT's.
        semantics_version: Version of the semantics, for the record.
        scale: Factor of the merged task vector; `lambda` in a recipe.
        normalize: Whether to divide by the weights that take part.
        rescale: Whether to make up for what was dropped.
        int8_mask: Has no effect.
    """

    semantics: Literal["reference", "mergekit", "peft"] = Field(
        default="reference",
        description="reference follows the authors; mergekit and peft follow mergekit 0.1.5 and PEFT 0.21 "
        "(see the method; of these methods PEFT has DARE)",
    )
    semantics_version: Literal[1] = Field(default=1, description="version of the semantics")
    scale: float = Field(default=1.0, alias="lambda", description="factor of the merged task vector")
    normalize: bool = Field(default=False, description="divide by the weights that take part")
    rescale: bool = Field(default=True, description="make up for what was dropped")
    int8_mask: bool = Field(default=False, description="without effect; some mergekit recipes have it")


class Dropped(Weighted):
    """Per-model parameters of the methods that make task vectors sparse.

    Attributes:
        weight: Factor of this model's task vector.
        density: Share of this model's task vector that is kept.
    """

    density: float = Field(default=0.2, ge=0, le=1, description="share of the task vector that is kept")


@dataclass(frozen=True)
class SparseMerge:
    """Adds sparse task vectors to the base.

    Attributes:
        problem: The base, its contributions and the scope.
        schedule: The settings of each tensor.
        thin: What is left of a task vector.
        elect: Whether each coordinate elects a sign, as in TIES of mergekit; otherwise all is added.
        rows: Whether `thin` needs runs of whole rows.
        l1_rescale: Whether `rescale` restores each tensor's L1 norm, as in mergekit; otherwise it is up to
            `thin`.
    """

    problem: StaticProblem
    schedule: Schedule[Any, Any]
    thin: Thin
    elect: bool = False
    rows: bool = False
    l1_rescale: bool = False
    _ratios: dict[str, list[float]] = field(default_factory=dict)

    def merge(self) -> StaticMerge:
        """Return the merge; with `l1_rescale` and `rescale` it costs a pass over all task vectors first.

        Raises:
            RecipeError: A mean of elected values with a negative weight.
        """
        if self.elect:
            for name in self.problem.scope:
                _check_mean(*self.schedule[name])
        if self.l1_rescale and any(self.schedule[name].parameters.rescale for name in self.problem.scope):
            measured = self.problem.map(self._l1_ratios, "measuring what is dropped", whole=True)
            self._ratios.update(zip(self.problem.scope, measured, strict=True))
        return by_rows(self.merged) if self.rows else StaticMerge(self.merged)

    def merged(self, part: Part) -> Tensor:
        """Return the merged values of one part, float32."""
        parameters, models = self.schedule[part.name]
        base = part.base()
        sparse = [self.thin(part, index, tau) for index, tau in enumerate(part.task_vectors(base))]
        if parameters.rescale:
            for values, ratio in zip(sparse, self._ratios.get(part.name, ()), strict=False):
                values.mul_(ratio)
        total = self._added(sparse, [model.weight for model in models], parameters)
        return base.add_(total.mul_(parameters.scale))

    def _added(
        self, sparse: Sequence[Tensor], weights: Sequence[float], parameters: SparseParameters
    ) -> Tensor:
        if not self.elect:
            return _sum(sparse, weights, parameters.normalize)
        peft = parameters.semantics == "peft"
        votes = (unweighted if peft else weighted)(sparse, weights)
        return votes.aggregated(elected(votes.mass()), "mean" if peft or parameters.normalize else "sum")

    def _l1_ratios(self, part: Part) -> list[float]:
        """Return by how much each contribution's sparse values must grow to have the L1 norm of all."""
        count = len(self.schedule[part.name].models)
        full, left = [0.0] * count, [0.0] * count
        for run in self._runs(part):
            for index, tau in enumerate(run.task_vectors(run.base())):
                full[index] += float(tau.abs().sum(dtype=torch.float64))
                left[index] += float(self.thin(run, index, tau).abs().sum(dtype=torch.float64))
        return [
            before / after if min(before, after) >= TINY else 1.0
            for before, after in zip(full, left, strict=True)
        ]

    def _runs(self, part: Part) -> Iterable[Part]:
        return part.rows() if self.rows else self.problem.parts(part.name)


TINY = 1e-7
"""mergekit leaves a tensor as it is whose L1 norm is below this."""


def _sum(values: Sequence[Tensor], weights: Sequence[float], normalize: bool) -> Tensor:
    total = torch.zeros_like(values[0])
    for block, weight in zip(values, weights, strict=True):
        total.add_(block.mul_(weight))
    share = sum(weights)
    return total.div_(share) if normalize and abs(share) >= 1e-8 else total


def _check_mean(parameters: SparseParameters, models: Sequence[Weighted]) -> None:
    negative = [model.weight for model in models if model.weight < 0]
    if parameters.normalize and parameters.semantics != "peft" and negative:
        raise RecipeError(
            f"parameters.normalize: cannot divide by the negative weight {negative[0]:g}; "
            f"set it to false or the weight to zero or more"
        )


def uses_mergekit(method: str, schedule: Schedule[Any, Any]) -> bool:
    """Return whether the semantics are mergekit's.

    Raises:
        RecipeError: They vary by tensor, or are PEFT's for a method that it does not have.
    """
    semantics = schedule.uniform(method, "semantics").parameters.semantics
    if semantics == "peft" and method != "dare":
        raise RecipeError(f"parameters.semantics: PEFT has no {method}; expected reference or mergekit")
    return bool(semantics == "mergekit")
