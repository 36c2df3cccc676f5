"""Methods that look at one row of a tensor at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergeward.merge.static.magnitude import bits_of
from mergeward.merge.static.problem import Part, StaticMerge


def by_rows(merged: Callable[[Part], Tensor]) -> StaticMerge:
    """Return a merge from a function of a run of rows.

    Args:
        merged: Maps a part of shape `[rows, width]`, as `Part.rows` gives it, to its merged values.
    """

    def whole(part: Part) -> Tensor:
        values = torch.empty(part.shape)
        flat = values.view(-1)
        for run in part.rows():
            flat[run.start : run.start + run.shape[0] * run.shape[1]] = merged(run).reshape(-1).cpu()
        return values

    return StaticMerge(whole, whole=True)


def by_magnitude(rows: Tensor) -> NDArray[np.int64]:
    """Return the places of each row's values, largest magnitude first, of equals the first of them first."""
    bits = bits_of(rows).reshape(rows.shape)
    # One number holds magnitude and place, so that sorting it has one outcome on any processor.
    keys = (0x7FFF_FFFF - bits).astype(np.int64) << 32
    keys |= np.arange(rows.shape[1])
    keys.sort(axis=1)
    return keys & 0xFFFF_FFFF
