"""Augmentation of a batch in pixel space."""

from __future__ import annotations

import torch
from torch import Tensor


def shift(pixels: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Move every image by up to `reach` pixels each way, repeating its borders.

    Args:
        pixels: `[B, C, H, W]`, any dtype.
        generator: Source of the offsets.
        reach: Largest offset, in pixels.

    Returns:
        A new tensor of the same shape and dtype.
    """
    count, _, height, width = pixels.shape
    offsets = torch.randint(-reach, reach + 1, (2, count), generator=generator)
    rows = (torch.arange(height) + offsets[0, :, None]).clamp(0, height - 1)
    columns = (torch.arange(width) + offsets[1, :, None]).clamp(0, width - 1)
    images = torch.arange(count)[:, None, None]
    channels_last = pixels.permute(0, 2, 3, 1)
    return channels_last[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
