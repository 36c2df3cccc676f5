"""A model seen in another layout: tensors renamed, cut, joined and turned, one at a time, bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint.source import TensorInfo, TensorSource, finite
from mergeward.errors import CheckpointError


@dataclass(frozen=True)
class Cut:
    """A tensor of a source, or some of its rows.

    Attributes:
        name: The tensor's name.
        rows: The first row and the one behind the last; None for the whole tensor.
    """

    name: str
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Arrangement:
    """What a tensor of a view is made of.

    Attributes:
        cuts: What is joined, one below the other.
        turned: Whether rows become columns.
    """

    cuts: tuple[Cut, ...]
    turned: bool = False


class Rearranged:
    """A source in another layout; values are moved and never changed.

    Args:
        source: The model.
        plan: What each tensor of the view is made of, by its name, in the order of the view.
        config: The configuration that goes with the view; by default the source's.

    Raises:
        CheckpointError: A tensor of the plan is missing, or does not have the rows it is to be cut into.
    """

    def __init__(
        self,
        source: TensorSource,
        plan: Mapping[str, Arrangement],
        *,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.name = source.name
        self.config = source.config if config is None else config
        self._plan = plan
        self.tensors: Mapping[str, TensorInfo] = {
            name: _info(source, arrangement) for name, arrangement in plan.items()
        }

    def view(self, name: str) -> Tensor:
        """Return one tensor, unchecked. It may share memory with the source.

        Raises:
            CheckpointError: There is none of that name, or it cannot be read.
        """
        if name not in self._plan:
            raise CheckpointError(f"{self.name}: no tensor {name!r}")
        arrangement = self._plan[name]
        parts = [_rows(self.source.view(cut.name), cut.rows) for cut in arrangement.cuts]
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        return joined.T.contiguous() if arrangement.turned else joined

    def read(self, name: str) -> Tensor:
        """Return one tensor, checked to be finite; otherwise as `view`.

        Raises:
            CheckpointError: As by `view`, or it holds NaN or infinity.
        """
        return finite(self.view(name), name=name, where=self.name)


def _rows(tensor: Tensor, rows: tuple[int, int] | None) -> Tensor:
    return tensor if rows is None else tensor[slice(*rows)]


def _info(source: TensorSource, arrangement: Arrangement) -> TensorInfo:
    infos = [source.tensors.get(cut.name) for cut in arrangement.cuts]
    shapes, first = [], infos[0]
    for cut, info in zip(arrangement.cuts, infos, strict=True):
        if info is None or first is None:
            raise CheckpointError(f"{source.name}: no tensor {cut.name!r}")
        if info.dtype != first.dtype or info.shape[1:] != first.shape[1:]:
            raise CheckpointError(
                f"{source.name}: tensor {cut.name!r} does not go with {arrangement.cuts[0].name!r}"
            )
        shapes.append(info.shape if cut.rows is None else (cut.rows[1] - cut.rows[0], *info.shape[1:]))
    assert first is not None  # noqa: S101 - an arrangement has a cut
    shape = shapes[0] if len(shapes) == 1 else (sum(one[0] for one in shapes), *shapes[0][1:])
    if arrangement.turned:
        shape = tuple(reversed(shape))
    return TensorInfo(shape, first.dtype, first.file, math.prod(shape) * first.dtype.itemsize)
