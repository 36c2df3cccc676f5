"""Runs a static method over checkpoints that need not fit in memory: one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mergeward.checkpoint.source import TensorSource
from mergeward.errors import UnsupportedError
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.merge.static.problem import StaticMerge, StaticProblem
from mergeward.progress import track


def merge_static(
    base: TensorSource,
    contributions: Sequence[TensorSource],
    info: MethodInfo,
    parameters: Parameters,
    model_parameters: Sequence[Parameters],
    scope: Sequence[str],
    out_dtype: torch.dtype | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Merge tensor by tensor, in the base's file order.

    Arithmetic is in float32 and a result is rounded once, to its output type. Tensors outside the scope are
    the base's: integer ones bit by bit, floating ones in the output type. The result has the same bits for
    any number of threads and any division of the inputs into files. `Checkpoint` and `InMemory` go through
    the same code.

    Args:
        base: The pretrained model.
        contributions: Its fine-tunes, which passed `check_compatible` over the scope.
        info: A static method.
        parameters: Its parameters, from `validate_parameters`.
        model_parameters: Its per-model parameters, one for each contribution.
        scope: Names of the tensors that take part, from `resolve_scope`.
        out_dtype: Type of the floating tensors of the result; by default each keeps the base's.

    Returns:
        Pairs of name and merged tensor, every tensor of the base once. A method that needs figures of whole
        models gathers them before this returns.

    Raises:
        UnsupportedError: The method is not static.
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.

    Example:
        >>> from mergeward.checkpoint import InMemory
        >>> from mergeward.merge import method, validate_parameters
        >>> base = InMemory({"w": torch.zeros(2)})
        >>> tuned = InMemory({"w": torch.ones(2)})
        >>> info = method("task_arithmetic")
        >>> parameters, models = validate_parameters(info, {"weight": 0.5}, [{}])
        >>> dict(merge_static(base, [tuned], info, parameters, models, ["w"]))
        {'w': tensor([0.5000, 0.5000])}
    """
    if info.kind != "static":
        raise UnsupportedError(f"{info.name}: needs unlabelled images; it cannot be run on weights alone")
    merged = info.run(StaticProblem(base, contributions, scope), parameters, model_parameters)
    return _stream(base, merged, frozenset(scope), out_dtype)


def _stream(
    base: TensorSource, merged: StaticMerge, scope: frozenset[str], out_dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    for name in track(tuple(base.tensors), "merging"):
        stored = base.tensors[name].dtype
        value = merged(name) if name in scope else base.read(name)
        dtype = (out_dtype or stored) if stored.is_floating_point else stored
        yield name, _rounded(value, name, dtype)


def _rounded(value: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """Return `value` in the output type, if it fits."""
    rounded = value.to(dtype)
    if dtype.is_floating_point and not bool(torch.isfinite(rounded).all()):
        raise UnsupportedError(
            f"tensor {name!r}: the result does not fit {str(dtype).removeprefix('torch.')}; "
            f"choose another dtype, or smaller weights"
        )
    return rounded
