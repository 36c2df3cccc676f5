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
    parts = zip(torch.split(features, list(sizes)), heads, strict=True)
    return [apply_head(part, head) for part, head in parts]


def apply_head(features: Tensor, head: Tensor) -> Tensor:
    """Return the logits `[B, C]` of features `[B, D]` under a head `[C, D]`.

    Raises:
        DataError: The head takes features of another width.
    """
    if features.ndim != 2 or features.shape[1] != head.shape[1]:
        raise DataError(
            f"the heads take features of width {head.shape[1]}, the encoder gives {list(features.shape)}"
        )
    return features @ head.T
