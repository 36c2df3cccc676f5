"""Runs a static method over checkpoints that need not fit in memory: one part of a tensor at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint.source import Piece, TensorSource, is_finite
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


class _ReadError(Exception):
    """A tensor was asked for where none may be."""


class _Unread:
    """A model whose names and shapes are known, and whose tensors may not be read.

    Args:
        source: The model.
    """

    def __init__(self, source: TensorSource) -> None:
        self.name = source.name
        self.tensors = source.tensors
        self.config = source.config

    def view(self, name: str) -> Tensor:
        raise _ReadError(name)

    read = view


def check_static(
    problem: StaticProblem, info: MethodInfo, schedule: Schedule[Any, Any]
) -> StaticMerge | None:
    """Let a static method check its settings, which it does before it reads.

    Args:
        problem: As in `merge_static`; no tensor is read.
        info: A static method.
        schedule: Its parameters.

    Returns:
        The merge, if the method needs no tensor read before the first is merged; it cannot be used.

    Raises:
        RecipeError: The settings do not go together.
        UnsupportedError: The method does not apply to these models.
    """
    unread = replace(
        problem, base=_Unread(problem.base), contributions=[_Unread(one) for one in problem.contributions]
    )
    try:
        merge: StaticMerge = info.run(unread, schedule)
    except _ReadError:
        return None
    return merge


def _pieces(
    problem: StaticProblem, merge: StaticMerge, dtype: torch.dtype | None, done: frozenset[str]
) -> Iterator[Piece]:
    base, scope = problem.base, frozenset(problem.scope)
    wanted = [name for name in base.tensors if name not in done]

    def batches() -> Iterator[list[Part]]:
        for name in track(wanted, "merging", nbytes=problem.nbytes):
            yield from problem.batches(name, whole=merge.whole and name in scope)

    def piece(part: Part) -> Piece:
        stored = base.tensors[part.name].dtype
        values = merge.merged(part) if part.name in scope else part.stored()
        chosen = (dtype or stored) if stored.is_floating_point else stored
        return Piece(part.name, part.start, _rounded(values, part.name, chosen).cpu())

    return chain.from_iterable(in_order(lambda batch: [piece(part) for part in batch], batches()))


def _rounded(value: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """Return `value` in the output type, if it fits."""
    rounded = value.to(dtype)
    if not is_finite(rounded):
        raise UnsupportedError(
            f"tensor {name!r}: the result does not fit {str(dtype).removeprefix('torch.')}; "
            f"choose another dtype, or smaller weights"
        )
    return rounded
