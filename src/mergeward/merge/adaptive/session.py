"""A problem set up for learning: the merged encoder, the heads and the batches, used by every method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mergeward.errors import DataError, MergewardError
from mergeward.merge.adaptive.balance import balances
from mergeward.merge.adaptive.batches import Batches, shuffled, to_unit
from mergeward.merge.adaptive.coefficients import Coefficients
from mergeward.merge.adaptive.merged_encoder import MergedEncoder
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.method import Parameters

BALANCE_IMAGES = 256
"""At most so many adapt images a task are looked at when the balance of predicted classes is recorded."""

_CHUNK = 128


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
        return self._apply_heads(self.engine.features(images), self.batches.sizes)

    def step_coefficients(self, loss: Tensor) -> None:
        """Let the coefficients take one step down a loss; theta stays until the next merge."""
        self.engine.backward(loss)
        self.coefficients.step(self.engine.coefficient_gradient())

    def balance(self) -> dict[str, dict[str, float | int]]:
        """Return how the present model's predictions spread over the classes of each task."""
        seed = self._problem.seed
        chosen = [
            task.images[shuffled(task, seed, 0)[:BALANCE_IMAGES].sort().values]
            for task in self._problem.tasks
        ]
        with torch.no_grad():
            chunks = torch.split(torch.cat(chosen), _CHUNK)
            features = torch.cat([self.engine.features(to_unit(chunk, self._dtype)) for chunk in chunks])
            logits = self._apply_heads(features, [len(images) for images in chosen])
        return balances([task.name for task in self._problem.tasks], logits)

    def result(self, record: Mapping[str, Any]) -> AdaptiveResult:
        """Return the present weights, and the record with the present coefficients added."""
        names = self.engine.layout.names
        coefficients = self.coefficients.named(self._problem.names, names)
        return AdaptiveResult(self.engine.weights(), {**record, "coefficients": coefficients})

    def _apply_heads(self, features: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        width = self._heads[0].shape[1]
        if features.ndim != 2 or features.shape[1] != width:
            raise DataError(
                f"the heads take features of width {width}, the encoder gives {list(features.shape)}"
            )
        parts = zip(torch.split(features, list(sizes)), self._heads, strict=True)
        return [part @ head.T for part, head in parts]


def finite(loss: Tensor, method: str, step: int) -> float:
    """Return a loss as a number.

    Raises:
        MergewardError: It is NaN or infinite: nothing can be learnt from there on.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise MergewardError(f"{method}: the loss became {value} at step {step + 1}; nothing was written")
    return value
