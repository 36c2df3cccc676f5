"""Static merges of models in memory, for the tests of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint import InMemory, TensorSource, whole_tensors
from mergeward.merge import StaticProblem, merge_static, method, schedule

State = Mapping[str, Tensor]


def source(model: TensorSource | State) -> TensorSource:
    """A model, whether it is a mapping or open already."""
    return InMemory(model) if isinstance(model, Mapping) else model


def merge_states(
    name: str,
    base: TensorSource | State,
    models: Sequence[TensorSource | State],
    parameters: Mapping[str, Any] | None = None,
    per_model: Sequence[Mapping[str, Any]] | None = None,
    *,
    scope: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Merge by one method, as a recipe would; contributions are called "0", "1", ... unless named."""
    info, origin = method(name), source(base)
    floats = [key for key, tensor in origin.tensors.items() if tensor.dtype.is_floating_point]
    problem = StaticProblem(
        origin,
        [source(model) for model in models],
        floats if scope is None else scope,
        names or [str(index) for index in range(len(models))],
        seed,
    )
    settings = schedule(info, parameters or {}, per_model or [{}] * len(models))
    pieces = merge_static(problem, info, settings, dtype=dtype)
    return {key: value.clone() for key, value in whole_tensors(origin, pieces)}
