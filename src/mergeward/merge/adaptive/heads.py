"""From the features of several tasks' images to their logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergeward.errors import DataError


def apply_heads(features: Tensor, heads: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Return the logits `[B_t, C_t]` of each task.

    Args:
        features: `[sum of B_t, D]`, task after task.
        heads: `[C_t, D]` for each task.
        sizes: `B_t`, how many of the rows are of each task.

    Raises:
        DataError: The heads take features of another width.
    """
    width = heads[0].shape[1]
    if features.ndim != 2 or features.shape[1] != width:
        raise DataError(f"the heads take features of width {width}, the encoder gives {list(features.shape)}")
    parts = zip(torch.split(features, list(sizes)), heads, strict=True)
    return [part @ head.T for part, head in parts]
