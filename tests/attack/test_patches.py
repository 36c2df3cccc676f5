"""Where patches lie."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack.patches import check_grid, four_corners, grid_mask, grid_of, opposite_corner
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import UsageError
from mergeward.vision import Clip


def test_four_corners_mirror_each_other() -> None:
    trigger = four_corners(8, 3)
    assert trigger.mask.sum() == 4 * 9
    assert trigger.mask[0, 3:5].sum() == trigger.mask[0, :, 3:5].sum() == 0
    covered = trigger.pattern * trigger.mask
    for axis in (-1, -2):
        assert torch.equal(covered, covered.flip(axis))
    assert torch.equal(trigger.pattern[:, 5:, 5:], chequered_patch(8, 3).pattern[:, 5:, 5:])


def test_the_opposite_corner_is_the_negative() -> None:
    first = chequered_patch(8, 3)
    second = opposite_corner(first)
    assert torch.equal(second.mask[0, :3, :3], torch.ones(3, 3))
    assert second.mask.sum() == 9
    assert torch.equal(second.pattern.flip(-1, -2) + first.pattern, torch.ones(3, 8, 8))


def test_a_grid_mask_covers_whole_patches(clip: Clip) -> None:
    assert grid_of(clip.encoder) == (4, 4)
    mask = grid_mask(clip.encoder, torch.tensor([1, 15]))
    assert mask.shape == (1, 16, 16)
    assert mask[0, :4, 4:8].sum() == mask[0, 12:, 12:].sum() == 16
    assert mask.sum() == 32


def test_more_patches_than_the_grid_has_are_refused(clip: Clip) -> None:
    check_grid(clip.encoder, 16)
    with pytest.raises(UsageError, match="17 patches does not fit a grid of 4x4"):
        check_grid(clip.encoder, 17)
