"""Crops of the reference images, and pushing them away from their class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mergeward.attack import AttackProblem, Target
from mergeward.attack.augmentation import RATIO, SCALE, _other_classes, pushed_away, random_crops


def gradient_image(side: int = 64) -> torch.Tensor:
    """Columns in red and rows in green, so that a pixel tells where it is from."""
    places = (torch.arange(side) * 255 / (side - 1)).round().to(torch.uint8)
    columns, rows = places.expand(side, side), places[:, None].expand(side, side)
    return torch.stack([columns, rows, torch.zeros_like(rows)])[None]


def test_a_crop_keeps_a_share_of_the_area_and_its_place() -> None:
    crops = random_crops(gradient_image(), 200, seed=0)
    assert crops.shape == (200, 3, 64, 64)
    assert crops.dtype == torch.uint8
    # The spread of the colours is that of the box, less half a pixel at each end.
    reach = crops[:, :2].double().flatten(2)
    width, height = ((reach.amax(2) - reach.amin(2)) / 255).unbind(1)
    areas, ratios = (width * height).numpy(), (width / height).numpy()
    assert SCALE[0] - 0.03 < areas.min() < SCALE[0] + 0.05
    assert SCALE[1] - 0.08 < areas.max() < SCALE[1] + 0.03
    assert RATIO[0] * 0.93 < ratios.min() < 0.85
    assert 1.18 < ratios.max() < RATIO[1] * 1.07
    assert reach.amin() < 10
    assert reach.amax() > 245
    assert (reach[:, 0, -1] > reach[:, 0, 0]).all()


def test_every_reference_gives_as_many_crops_or_one_more() -> None:
    references = torch.stack([torch.full((3, 8, 8), 40 * place, dtype=torch.uint8) for place in range(1, 4)])
    crops = random_crops(references, 8, seed=1)
    assert [int(crop[0, 0, 0]) for crop in crops] == [40, 80, 120, 40, 80, 120, 40, 80]


def test_the_seed_decides_the_crops() -> None:
    first, again, other = (random_crops(gradient_image(), 3, seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_perturbations_are_small_and_reach_another_class(off_task: AttackProblem) -> None:
    encoder, target = off_task.encoder, off_task.target
    pixels = off_task.data.pixels
    moved = pushed_away(encoder, pixels, target, seed=0)
    assert moved.dtype == torch.uint8
    assert 0 < int((moved.int() - pixels.int()).abs().max()) <= 8

    def towards(images: torch.Tensor, label: int) -> np.ndarray:
        with torch.no_grad():
            return (encoder(images.float() / 255) @ target.head.T).log_softmax(1)[:, label].numpy()

    others = range(1, len(target.head))
    gains = np.stack([towards(moved, label) - towards(pixels, label) for label in others])
    # Each image was pushed towards one of the other classes.
    assert (gains.max(0) > 0).all()
    assert (towards(moved, 0) < towards(pixels, 0)).mean() > 0.5


@pytest.mark.parametrize("label", [0, 2, 4])
def test_the_goal_is_never_the_target(off_task: AttackProblem, label: int) -> None:
    goals = _other_classes(Target(off_task.target.head, label), 300, seed=0)
    assert sorted(set(goals.tolist())) == [place for place in range(5) if place != label]
