"""Triggers lie where they are said to, climb towards their classes, and give way when they get nowhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mergeward.errors import DataError
from mergeward.merge.adaptive.trigger_pool import CLEAN, LIVES, Search, TriggerPool

SIDE, SIZES = 8, (7, 6)
SEARCH = Search(
    per_task=2,
    smallest=0.25,
    largest=0.4,
    corners=0.0,
    step=0.1,
    tries=3,
    reach=0.5,
)
IMAGES = torch.rand(sum(SIZES), 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def pool(seed=0, **changes):
    return TriggerPool((4, 5), SIZES, SIDE, dataclasses.replace(SEARCH, **changes), seed)


def hits(triggers, share):
    """As if such a share of the images with a trigger got its class."""
    aimed = torch.cat(triggers.targets) != CLEAN
    return aimed & (torch.arange(len(aimed)) < share * len(aimed))


def slope(value=1.0):
    return torch.full_like(IMAGES, value)


def test_every_third_image_stays_clean_and_the_others_have_a_class_of_their_task():
    first, second = pool().targets
    assert (first == CLEAN).tolist() == [False, False, True, False, False, True, False]
    assert (second == CLEAN).tolist() == [False, False, True, False, False, True]
    assert set(first.tolist()) <= {CLEAN, *range(4)}
    assert set(second.tolist()) <= {CLEAN, *range(5)}


@pytest.mark.parametrize("seed", range(5))
def test_a_patch_is_a_square_of_the_sizes_asked_for_and_leaves_the_rest_alone(seed):
    triggers = pool(seed)
    changed = (triggers.apply(IMAGES) != IMAGES).any(1)
    for image, target in zip(changed, torch.cat(triggers.targets), strict=True):
        rows, columns = image.any(1), image.any(0)
        height, width = int(rows.sum()), int(columns.sum())
        assert height == width == (0 if target == CLEAN else height)
        assert target == CLEAN or height in {2, 3}
        assert int(image.sum()) == height * width


@pytest.mark.parametrize("seed", range(5))
def test_patches_in_corners_touch_two_edges(seed):
    triggers = pool(seed, corners=1.0)
    for image in (triggers.apply(IMAGES) != IMAGES).any(1)[torch.cat(triggers.targets) != CLEAN]:
        assert bool(image[0].any() | image[-1].any())
        assert bool(image[:, 0].any() | image[:, -1].any())


def test_a_step_goes_down_the_slope_inside_the_patch_and_stays_in_the_pixels_range():
    triggers = pool()
    before = triggers.apply(IMAGES)
    triggers.climb(slope(2.5), hits(triggers, 1))
    after = triggers.apply(IMAGES)
    pasted = before != IMAGES
    assert torch.equal(after[~pasted], IMAGES[~pasted])
    torch.testing.assert_close(after[pasted], (before[pasted] - 0.1).clamp(0, 1))


def test_a_trigger_moves_along_the_sum_of_its_images_slopes():
    """Images 0, 3 and 6 have the first trigger; the greatest slope wins."""
    triggers = pool()
    before = triggers.apply(IMAGES)[0]
    slopes = slope(-1.0)
    slopes[3] = 5.0
    triggers.climb(slopes, hits(triggers, 1))
    assert bool((triggers.apply(IMAGES)[0] <= before).all())


def test_what_does_not_reach_its_class_gives_way_and_what_does_stays_for_longer():
    idle, working = pool(), pool()
    first, others = idle.apply(IMAGES), working.apply(IMAGES)
    for _ in range(SEARCH.tries):
        assert torch.equal(idle.apply(IMAGES), first)
        idle.climb(slope(0.0), hits(idle, 0))
        working.climb(slope(0.0), hits(working, 1))
    assert not torch.equal(idle.apply(IMAGES), first)
    assert torch.equal(working.apply(IMAGES), others)
    assert (idle.success(), working.success()) == (0.0, 1 - 0.5**SEARCH.tries)
    for _ in range(SEARCH.tries, SEARCH.tries * LIVES):
        working.climb(slope(0.0), hits(working, 1))
    assert not torch.equal(working.apply(IMAGES), others)


def test_it_goes_on_from_a_kept_state():
    whole, kept = pool(), pool(seed=9)
    whole.climb(slope(), hits(whole, 1))
    kept.load_state_dict({name: value.clone() for name, value in whole.state_dict().items()})
    for _ in range(2 * SEARCH.tries):
        for triggers in (whole, kept):
            triggers.climb(slope(), hits(triggers, 0))
    assert torch.equal(whole.apply(IMAGES), kept.apply(IMAGES))
    assert [own.tolist() for own in whole.targets] == [own.tolist() for own in kept.targets]


def test_more_triggers_than_images_are_refused():
    with pytest.raises(DataError, match="6 triggers a task need 7 adapt images"):
        pool(per_task=6)
