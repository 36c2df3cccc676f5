"""Where patches lie: in corners, and on the grid of a vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor

from mergeward.attack.trigger import PatchTrigger, chequered_patch
from mergeward.errors import UsageError
from mergeward.vision import ClipEncoder


def four_corners(image_size: int, patch_size: int) -> PatchTrigger:
    """Return a chequered patch in every corner, each the mirror image of its neighbours.

    A mirrored or shifted image carries at least one of them where it is looked for.

    Raises:
        UsageError: The patch is larger than the image.
    """
    corner = chequered_patch(image_size, patch_size)
    pattern, mask = corner.pattern * corner.mask, corner.mask
    for axis in (-1, -2):
        pattern = pattern.maximum(pattern.flip(axis))
        mask = mask.maximum(mask.flip(axis))
    return PatchTrigger(pattern, mask)


def opposite_corner(trigger: PatchTrigger) -> PatchTrigger:
    """Return the patch's negative, in the opposite corner."""
    return PatchTrigger(1 - trigger.pattern.flip(-1, -2), trigger.mask.flip(-1, -2))


def grid_of(encoder: ClipEncoder) -> tuple[int, int]:
    """Return how many patches a side an encoder cuts images into, and how many pixels a side each has."""
    settings = encoder.vision_model.config
    return settings.image_size // settings.patch_size, settings.patch_size


def check_grid(encoder: ClipEncoder, patches: int) -> None:
    """Refuse more patches than an encoder's grid has.

    Raises:
        UsageError: There are fewer.
    """
    across, _ = grid_of(encoder)
    if patches > across * across:
        raise UsageError(f"a trigger of {patches} patches does not fit a grid of {across}x{across}")


def grid_mask(encoder: ClipEncoder, places: Tensor) -> Tensor:
    """Return the mask `[1, S, S]` of some patches of an encoder's grid.

    Args:
        encoder: The encoder.
        places: int64 `[n]`, places in the grid, row by row.
    """
    across, side = grid_of(encoder)
    grid = torch.zeros(across * across)
    grid[places] = 1
    size = encoder.vision_model.config.image_size
    mask = torch.zeros(1, size, size)
    covered = grid.view(across, across).repeat_interleave(side, 0).repeat_interleave(side, 1)
    mask[:, : across * side, : across * side] = covered
    return mask
