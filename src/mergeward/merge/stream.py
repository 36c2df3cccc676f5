"""Runs a static method over checkpoints that need not fit in memory: one part of a tensor at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint.source import Piece, is_finite
from mergeward.compute import in_order
from mergeward.errors import UnsupportedError
from mergeward.merge.method import MethodInfo
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem
from mergeward.progress import track


def merge_static(
    problem: StaticProblem,
    info: MethodInfo,
    schedule: Schedule[Any, Any],
    *,
    dtype: torch.dtype | None = None,
    done: Collection[str] = (),
) -> Iterator[Piece]:
    """Merge part by part, in the base's file order.

    Arithmetic is in float32 and a result is rounded once, to its output type. Tensors outside the scope are
    the base's: integer ones bit by bit, floating ones in the output type. The result has the same bits for
    any number of threads and any division of the inputs into files.

    Args:
        problem: A base, its contributions, which passed `check_compatible` over the scope, and the scope.
        info: A static method.
        schedule: Its parameters.
        dtype: Type of the floating tensors of the result; by default each keeps the base's.
        done: Tensors that are not wanted.

    Returns:
        The pieces of every tensor of the base, tensor by tensor and each from its beginning. A method that
        needs figures of whole models gathers them before this returns.

    Raises:
        UnsupportedError: The method is not static, or a result does not fit its output type.
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.

    Example:
        >>> from mergeward.checkpoint import InMemory, whole_tensors
        >>> from mergeward.merge import StaticProblem, method, schedule
        >>> base = InMemory({"w": torch.zeros(2)})
        >>> tuned = InMemory({"w": torch.ones(2)})
        >>> info = method("task_arithmetic")
        >>> problem = StaticProblem(base, [tuned], ["w"], ["tuned"])
        >>> dict(whole_tensors(base, merge_static(problem, info, schedule(info, {"weight": 0.5}, [{}]))))
        {'w': tensor([0.5000, 0.5000])}
    """
    if info.kind != "static":
        raise UnsupportedError(f"{info.name}: needs unlabelled images; it cannot be run on weights alone")
    return _pieces(problem, info.run(problem, schedule), dtype, frozenset(done))


def _pieces(
    problem: StaticProblem, merge: StaticMerge, dtype: torch.dtype | None, done: frozenset[str]
) -> Iterator[Piece]:
    base, scope = problem.base, frozenset(problem.scope)
    wanted = [name for name in base.tensors if name not in done]

    def parts() -> Iterator[Part]:
        for name in track(wanted, "merging"):
            yield from problem.parts(name, whole=merge.whole and name in scope)

    def piece(part: Part) -> Piece:
        stored = base.tensors[part.name].dtype
        values = merge.merged(part) if part.name in scope else part.stored()
        chosen = (dtype or stored) if stored.is_floating_point else stored
        return Piece(part.name, part.start, _rounded(values, part.name, chosen).cpu())

    return in_order(piece, parts())


def _rounded(value: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """Return `value` in the output type, if it fits."""
    rounded = value.to(dtype)
    if not is_finite(rounded):
        raise UnsupportedError(
            f"tensor {name!r}: the result does not fit {str(dtype).removeprefix('torch.')}; "
            f"choose another dtype, or smaller weights"
        )
    return rounded
