"""A problem set up for learning: the merged encoder, the heads and the batches, used by every method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import MergewardError
from mergeward.merge.adaptive.balance import balance_of
from mergeward.merge.adaptive.batches import Batches
from mergeward.merge.adaptive.coefficients import Coefficients
from mergeward.merge.adaptive.heads import apply_heads
from mergeward.merge.adaptive.merged_encoder import MergedEncoder
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.method import Parameters


class SessionParameters(Parameters):
    """What every adaptive merge can be told."""

    granularity: Literal["layer", "task"] = Field(
        default="layer",
        description="`layer`: one coefficient a contribution and tensor; `task`: one a contribution",
    )
    initial_coefficient: float = Field(
        default=0.3, ge=0, le=1, description="starting value of every coefficient (AdaMerging: 0.3)"
    )
    batch_size: int = Field(
        default=16, ge=1, description="adapt images a task and batch (AdaMerging and DAM: 16)"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="arithmetic of the encoder while learning; `bfloat16` runs it under autocast",
    )


class Session:
    """The state of one adaptive merge.

    Args:
        problem: What is merged, and for which tasks.
        parameters: Granularity, starting coefficients, batch size and precision.
        lr: Adam step size of the coefficients.
        dtype: Type of the arithmetic outside autocast; float64 serves gradient checks.

    Attributes:
        engine: The merged encoder.
        coefficients: The merging coefficients.
        batches: Batches of adapt images, all tasks side by side.
    """

    def __init__(
        self,
        problem: AdaptiveProblem,
        parameters: SessionParameters,
        *,
        lr: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._problem = problem
        self._dtype = dtype
        self._heads = [task.head.to(dtype) for task in problem.tasks]
        self.engine = MergedEncoder(
            problem.encoder, problem.base, problem.contributions, precision=parameters.precision, dtype=dtype
        )
        self.coefficients = Coefficients(
            len(problem.contributions),
            len(problem.base),
            granularity=parameters.granularity,
            initial=parameters.initial_coefficient,
            lr=lr,
            dtype=dtype,
        )
        self.batches = Batches(problem.tasks, parameters.batch_size, problem.seed, dtype)
        self.engine.merge(self.coefficients.by_tensor())

    def merge(self, mask: Tensor | None = None) -> None:
        """Merge with the present coefficients and a mask `[P]`, or none."""
        self.engine.merge(self.coefficients.by_tensor(), mask)

    def logits(self, images: Tensor) -> list[Tensor]:
        """Return the logits `[B_t, C_t]` of each task for one batch, by one pass of the encoder."""
        return apply_heads(self.engine.features(images), self._heads, self.batches.sizes)

    def step_coefficients(self, loss: Tensor) -> None:
        """Let the coefficients take one step down a loss; theta stays until the next merge."""
        self.engine.backward(loss)
        self.coefficients.step(self.engine.coefficient_gradient())

    def balance(self) -> dict[str, dict[str, float | int]]:
        """Return how the present model's predictions spread over the classes of each task."""
        return balance_of(self.engine.features, self._problem.tasks, self._problem.seed, self._dtype)

    def result(self, record: Mapping[str, Any]) -> AdaptiveResult:
        """Return the present weights, and the record with the present coefficients added."""
        names = self.engine.layout.names
        coefficients = self.coefficients.named(self._problem.names, names)
        return AdaptiveResult(self.engine.weights(), {**record, "coefficients": coefficients})


def finite(loss: Tensor, method: str, step: int) -> float:
    """Return a loss as a number.

    Raises:
        MergewardError: It is NaN or infinite: nothing can be learnt from there on.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise MergewardError(f"{method}: the loss became {value} at step {step + 1}; nothing was merged")
    return value
