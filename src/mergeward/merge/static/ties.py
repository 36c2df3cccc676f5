"""TIES: trim each task vector, elect a sign per coordinate, add what agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field
from torch import Tensor

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo, Parameters, Weighted
from mergeward.merge.settings import Schedule
from mergeward.merge.static.election import Aggregation, Votes, elected, unweighted, weighted
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.merge.static.trim import Cut, scope_cuts, tensor_cuts


class TiesParameters(Parameters):
    """Parameters of `ties`.

    Attributes:
        semantics: Whose TIES it is; see `run`.
        semantics_version: Version of the semantics, for the record.
        scale: Factor of the merged task vector; `lambda` in a recipe.
        aggregation: What comes of the values that agree with the elected sign; by default that of the
            semantics.
        normalize: mergekit's key for the same: true is "mean", false is "sum".
        int8_mask: Has no effect.
    """

    semantics: Literal["reference", "mergekit", "peft"] = Field(
        default="reference",
        description="reference trims over the whole scope, as the authors do; mergekit and peft each tensor",
    )
    semantics_version: Literal[1] = Field(default=1, description="version of the semantics")
    scale: float = Field(default=1.0, alias="lambda", description="factor of the merged task vector")
    aggregation: Aggregation | None = Field(
        default=None,
        description="sum, mean or max of the values that agree (the paper's disjoint merge); by default sum "
        "for reference, as in its authors' vision experiments, and mean for mergekit and peft",
    )
    normalize: bool | None = Field(
        default=None, description="mergekit's key for the aggregation: true is mean, false is sum"
    )
    int8_mask: bool = Field(default=False, description="without effect; some mergekit recipes have it")

    @property
    def how(self) -> Aggregation:
        """The aggregation that these parameters come to."""
        if self.aggregation is not None:
            return self.aggregation
        mean = self.semantics != "reference" if self.normalize is None else self.normalize
        return "mean" if mean else "sum"


class Trimmed(Weighted):
    """Per-model parameters of `ties`.

    Attributes:
        weight: Factor of this model's task vector.
        density: Share of this model's task vector, largest magnitudes first, that is kept.
    """

    density: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="share of the task vector, largest magnitudes first, that is kept",
    )


Settings: TypeAlias = Schedule[TiesParameters, Trimmed]


@dataclass(frozen=True)
class Ties:
    """TIES with its cuts known; see `run`.

    Attributes:
        problem: The base, its contributions and the scope.
        schedule: The settings of each tensor.
        cuts: By tensor, where the largest magnitudes of each contribution begin.
    """

    problem: StaticProblem
    schedule: Settings
    cuts: Mapping[str, Sequence[Cut]]
    _electing: Lock = field(default_factory=Lock, repr=False)

    def merged(self, part: Part) -> Tensor:
        """Return the merged values of one part, float32."""
        parameters = self.schedule[part.name].parameters
        base = part.base()
        votes = self._votes(part, base)
        mass = votes.mass()
        total = votes.aggregated(elected(mass), parameters.how)
        if parameters.semantics == "reference":
            # What votes to no sum, and was elected to +1 for now.
            undecided = (mass.cpu().numpy() == 0) & (total.cpu().numpy() != 0)
            if undecided.any():
                with self._electing:
                    majority = self._majority
                if majority < 0:
                    total = votes.aggregated(elected(mass, majority), parameters.how)
        return base.add_(total.mul_(parameters.scale))

    @cached_property
    def _majority(self) -> float:
        """The sign that most coordinates elect, for those whose sum is zero; +1 if there is none.

        It costs a pass over all task vectors, so it is looked for only when some coordinate needs it.
        """

        def balance(part: Part) -> int:
            mass = self._votes(part, part.base()).mass().cpu().numpy()
            return int(np.count_nonzero(mass > 0)) - int(np.count_nonzero(mass < 0))

        return 1.0 if sum(self.problem.map(balance, "electing the majority sign")) >= 0 else -1.0

    def _votes(self, part: Part, base: Tensor) -> Votes:
        parameters, models = self.schedule[part.name]
        trimmed = [
            cut.keep(tau, part.start)
            for cut, tau in zip(self.cuts[part.name], part.task_vectors(base), strict=True)
        ]
        cast = unweighted if parameters.semantics == "peft" else weighted
        return cast(trimmed, [model.weight for model in models])


def trim_reference(problem: StaticProblem, schedule: Settings) -> Mapping[str, Sequence[Cut]]:
    """Trim each task vector over the whole scope; where densities vary, over all tensors of the same ones."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for name in problem.scope:
        groups.setdefault(tuple(model.density for model in schedule[name].models), []).append(name)
    cuts: dict[str, Sequence[Cut]] = {}
    for densities, names in groups.items():
        cuts |= dict.fromkeys(names, scope_cuts(replace(problem, scope=names), densities))
    return cuts


def trim_tensors(
    problem: StaticProblem, schedule: Settings, *, least: int = 0
) -> Mapping[str, Sequence[Cut]]:
    """Trim each tensor of each task vector to int(density * n) of its n values, and at least to `least`."""
    return tensor_cuts(
        problem, lambda name, size: [max(int(model.density * size), least) for model in schedule[name].models]
    )


TRIMS: Mapping[str, Callable[[StaticProblem, Settings], Mapping[str, Sequence[Cut]]]] = {
    "reference": trim_reference,
    "mergekit": partial(trim_tensors, least=1),
    "peft": trim_tensors,
}


def run(problem: StaticProblem, schedule: Settings) -> StaticMerge:
    """Merge by TIES: trim, elect a sign, add up what agrees.

    theta = theta_0 + lambda * a, where a is the sum (or mean, or max) of weight_i * tau_i over the
    contributions whose trimmed value has the elected sign. The mean divides by the weights of those
    contributions.

    The semantics differ in three things:

    - reference: each task vector keeps its largest magnitudes, ranked over the whole scope at once, the
      (d - int(d * density))-th smallest and all above or equal to it. A coordinate's sign is that of the
      weighted sum of the trimmed values; where that sum is zero it is the sign that most coordinates elect.
      Where densities vary, the tensors of the same densities are ranked together.
    - mergekit: each tensor of n values keeps max(1, int(n * density)). A sum of zero elects +1.
    - peft: as mergekit, but the sum that elects is unweighted, and the mean divides by the number of
      contributions that agree.

    A density of 1 trims nothing in any of them.

    Source: Yadav et al., "TIES-Merging", section 4.1 (arXiv:2306.01708); rank and zero rule of the reference
    as in the authors' code; mergekit 0.1.5; PEFT 0.21.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, semantics and aggregation; weight and density of each contribution.

    Returns:
        The merge. The thresholds are known when it is returned: one pass over all task vectors, or a few.

    Raises:
        RecipeError: A mean with a negative weight, `normalize` and `aggregation` that contradict each
            other, or semantics that vary by tensor.
    """
    for name in problem.scope:
        check(schedule[name].parameters, [model.weight for model in schedule[name].models])
    semantics = schedule.uniform("ties", "semantics").parameters.semantics
    return StaticMerge(Ties(problem, schedule, TRIMS[semantics](problem, schedule)).merged)


def check(parameters: TiesParameters, weights: Sequence[float]) -> None:
    """Refuse parameters that contradict each other.

    Raises:
        RecipeError: They do.
    """
    how, given = parameters.how, parameters.normalize
    if given is not None and given != (how == "mean"):
        raise RecipeError(
            f"parameters.normalize: {str(given).lower()} contradicts aggregation: {how}; give one of the two"
        )
    negative = [weight for weight in weights if weight < 0]
    if how == "mean" and parameters.semantics != "peft" and negative:
        raise RecipeError(
            f"parameters.normalize: ties cannot divide by the negative weight {negative[0]:g}; "
            f"set it to false or the weight to zero or more"
        )


INFO = MethodInfo(
    name="ties",
    summary="trims each task vector, elects a sign per coordinate and adds what agrees with it",
    paper='Yadav et al., "TIES-Merging", NeurIPS 2023, arXiv:2306.01708',
    kind="static",
    run=run,
    parameters=TiesParameters,
    model_parameters=Trimmed,
)
