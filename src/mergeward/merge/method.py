"""What the program knows about a merge method: one frozen record per method.

The command line, the table in the docs and the contract tests are generated from these records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mergeward.plugins import Record

Kind = Literal["static", "adaptive"]


class Parameters(BaseModel):
    """Base of every method's parameters: frozen, finite numbers only, unknown keys refused.

    A field carries a default and a description; its alias, where it has one, is the key as mergekit
    spells it (`lambda`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class NoParameters(Parameters):
    """The parameters of what has none."""


class Weighted(Parameters):
    """Per-model parameters of the methods that add task vectors.

    Attributes:
        weight: Factor of this model's task vector.
    """

    weight: float = Field(
        default=0.3,
        description="factor of this model's task vector (the papers' scaling coefficient)",
    )


@dataclass(frozen=True)
class MethodInfo(Record):
    """One merge method; a recipe asks for it by its name (`merge_method`).

    Attributes:
        kind: "static" needs weights only; "adaptive" needs unlabelled images.
        run: The method. A static one is called as `run(problem, schedule)` with a
            `merge.static.problem.StaticProblem` and a `merge.settings.Schedule`, and returns a
            `StaticMerge`; an adaptive one is called as `run(problem, parameters)` with an
            `AdaptiveProblem` and returns an `AdaptiveResult`.
        parameters: Model of the recipe's `parameters`.
        model_parameters: Model of `models[].parameters`. The recipe's `parameters` may hold these keys too,
            as defaults for every model.
        needs_images: Whether it learns from unlabelled images.
        any_device: For adaptive methods, whether it computes on CUDA devices too, and in several processes
            that share its images. Static ones do the former, and none the latter.
        learns_masks: Whether it learns masks, which can be saved and used again.
        needs_base: Whether its arithmetic uses the base's weights.
        min_contributions: The fewest contributions it is defined for.
        max_contributions: The most; None is any number.
    """

    kind: Kind
    run: Callable[..., Any]
    parameters: type[Parameters] = NoParameters
    model_parameters: type[Parameters] = NoParameters
    needs_images: bool = False
    any_device: bool = False
    learns_masks: bool = False
    needs_base: bool = True
    min_contributions: int = 1
    max_contributions: int | None = None
