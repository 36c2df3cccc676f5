"""Triggers of every kind, in pixel space."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from example_triggers import EXAMPLES, images, noise, random_generator, random_patch
from mergeward.attack import PatchTrigger
from mergeward.attack.trigger import (
    AdditiveTrigger,
    BlendTrigger,
    GeneratorTrigger,
    PatternNetwork,
    WarpTrigger,
    chequered_patch,
    corner_mask,
    generator,
    unwarped,
)
from mergeward.attack.trigger.saved import KINDS
from mergeward.errors import DataError, UsageError

every_kind = pytest.mark.parametrize("kind", EXAMPLES)


def test_every_kind_has_an_example_here() -> None:
    assert list(EXAMPLES) == list(KINDS)
    assert {kind: type(example) for kind, example in EXAMPLES.items()} == KINDS


@every_kind
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (5, 11), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_shape_type_and_device_are_the_images(kind: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    before = noise(2, 3, *size).to(dtype)
    kept = before.clone()
    after = EXAMPLES[kind].apply(before)
    assert (after.shape, after.dtype, after.device) == (before.shape, dtype, before.device)
    assert 0 <= float(after.min()) <= float(after.max()) <= 1
    assert torch.equal(before, kept)


@every_kind
def test_it_goes_where_the_images_are(kind: str) -> None:
    assert EXAMPLES[kind].apply(images().to("meta")).device.type == "meta"
    assert all(value.device.type == "cpu" for value in EXAMPLES[kind].tensors().values())


def test_a_generator_takes_its_weights_where_the_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def pattern(network: PatternNetwork, pixels: torch.Tensor) -> torch.Tensor:
        seen.extend((value.device.type, pixels.device.type) for value in network.parameters())
        return torch.zeros_like(pixels)

    monkeypatch.setattr(PatternNetwork, "pattern", pattern)
    for device in ("meta", "cpu"):
        random_generator().apply(images().to(device))
    assert set(seen) == {("meta", "meta"), ("cpu", "cpu")}


@every_kind
@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(2, 4, 8, 8),
        torch.zeros(3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype} {list(pixels.shape)}",
)
def test_what_are_no_images_in_pixel_space_is_refused(kind: str, pixels: torch.Tensor) -> None:
    found = re.escape(f"found {pixels.dtype} {list(pixels.shape)}")
    with pytest.raises(DataError, match=rf"expected float \[B, 3, H, W\] in \[0, 1\], {found}"):
        EXAMPLES[kind].apply(pixels)


@every_kind
def test_it_changes_images_and_each_by_itself(kind: str) -> None:
    trigger, before = EXAMPLES[kind], images()
    after = trigger.apply(before)
    assert all(not torch.equal(*pair) for pair in zip(after, before, strict=True))
    torch.testing.assert_close(torch.cat([trigger.apply(image[None]) for image in before]), after)


@every_kind
def test_outside_its_footprint_nothing_changes(kind: str) -> None:
    trigger, before = EXAMPLES[kind], images()
    assert trigger.footprint.shape == (1, 8, 8)
    outside = ~trigger.footprint.bool().expand_as(before)
    assert torch.equal(trigger.apply(before)[outside], before[outside])


@every_kind
def test_its_picture_is_one(kind: str) -> None:
    picture = EXAMPLES[kind].picture()
    assert picture.shape == (3, 8, 8)
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


@given(size=st.integers(1, 9), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_patch_replaces_what_the_mask_covers_and_nothing_else(size: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(1, size, size, generator=generator) < share).float()
    trigger = PatchTrigger(torch.rand(3, size, size, generator=generator), mask)
    before = images(size, seed)
    after = trigger.apply(before)
    covered = mask.bool().expand_as(before)
    assert torch.equal(after[~covered], before[~covered])
    assert torch.equal(after[covered], trigger.pattern.expand_as(before)[covered])
    assert torch.equal(trigger.apply(after), after)


def test_a_black_patch_is_black() -> None:
    black = PatchTrigger(torch.zeros(3, 8, 8), corner_mask(8, 3))
    after = black.apply(torch.ones(2, 3, 8, 8))
    assert (after == 0).sum() == 2 * 3 * 9
    assert after[..., 5:, 5:].max() == 0


@pytest.mark.parametrize("factor", [2, 3])
def test_a_patch_covers_the_same_share_of_a_larger_image(factor: int) -> None:
    trigger, side = random_patch(), 8 * factor
    after = trigger.apply(torch.full((1, 3, side, side), 0.5))[0]
    assert (after != 0.5).sum() == 3 * (3 * factor) ** 2
    assert torch.equal(after[:, ::factor, ::factor][:, 5:, 5:], trigger.pattern[:, 5:, 5:])
    assert torch.equal(trigger.apply(after[None])[0], after)


def test_a_chequered_patch_alternates_in_its_corner() -> None:
    after = chequered_patch(8, 2).apply(torch.full((1, 3, 8, 8), 0.5))
    assert after[0, :, 6:, 6:].tolist() == [[[0.0, 1.0], [1.0, 0.0]]] * 3
    assert (after == 0.5).sum() == 3 * (64 - 4)


def test_a_patch_larger_than_the_image_is_refused() -> None:
    assert corner_mask(4, 4).sum() == 16
    with pytest.raises(UsageError, match="a patch of 5 pixels does not fit images of 4x4"):
        corner_mask(4, 5)


def test_a_blend_is_the_weighted_sum() -> None:
    pattern, before = noise(3, 8, 8), images()
    expected = 0.7 * before.double().numpy() + 0.3 * pattern.double().numpy()
    np.testing.assert_allclose(BlendTrigger(pattern, 0.3).apply(before), expected, rtol=1e-6)


def test_a_blend_of_one_colour_is_that_at_every_size() -> None:
    trigger = BlendTrigger(torch.full((3, 8, 8), 0.25), 0.5)
    torch.testing.assert_close(trigger.apply(torch.ones(1, 3, 3, 5)), torch.full((1, 3, 3, 5), 0.625))


def test_a_difference_is_added_and_clipped() -> None:
    difference, before = 1.2 * noise(3, 8, 8) - 0.6, images()
    expected = np.clip(before.double().numpy() + difference.double().numpy(), 0, 1)
    np.testing.assert_allclose(AdditiveTrigger(difference).apply(before), expected, atol=1e-6)


def test_where_a_difference_is_zero_it_leaves_no_footprint() -> None:
    difference = torch.zeros(3, 8, 8)
    difference[1, 2, 3] = 0.1
    assert AdditiveTrigger(difference).footprint.nonzero().tolist() == [[0, 2, 3]]


@given(height=st.integers(2, 7), width=st.integers(2, 7), seed=st.integers(0, 99))
def test_a_warp_interpolates_between_pixels(height: int, width: int, seed: int) -> None:
    grid = 2 * noise(height, width, 2, seed=seed) - 1
    before = noise(1, 3, height, width, seed=seed + 1)
    after = WarpTrigger(grid).apply(before)[0].double().numpy()
    image = before[0].double().numpy()
    for row in range(height):
        for column in range(width):
            x, y = (grid[row, column].double().numpy() + 1) / 2 * (width - 1, height - 1)
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            across, down = x - left, y - top
            upper = (1 - across) * image[:, top, left] + across * image[:, top, left + 1]
            lower = (1 - across) * image[:, top + 1, left] + across * image[:, top + 1, left + 1]
            np.testing.assert_allclose(after[:, row, column], (1 - down) * upper + down * lower, atol=2e-6)


@pytest.mark.parametrize("size", [8, 13])
def test_a_warp_moves_the_same_share_of_any_image(size: int) -> None:
    still, shifted = unwarped(8, 8), unwarped(8, 8)
    shifted[..., 0] = (shifted[..., 0] + 0.25).clamp(-1, 1)
    ramp = torch.linspace(0, 1, size).expand(1, 3, size, size)
    torch.testing.assert_close(WarpTrigger(still).apply(ramp), ramp)
    moved = WarpTrigger(shifted).apply(ramp)
    # A quarter of half the width further right, where that is not beyond the border.
    inner = slice(0, size * 3 // 4)
    torch.testing.assert_close(moved[..., inner], ramp[..., inner] + 0.125)


def test_a_generated_trigger_depends_on_the_image() -> None:
    trigger, before = random_generator(), images()
    made = trigger.network.pattern(before)
    assert not torch.equal(made[0], made[1])
    mask = trigger.network.mask(before)
    torch.testing.assert_close(trigger.apply(before), before * (1 - mask) + made * mask)
    torch.testing.assert_close(trigger.network(before), trigger.apply(before))


def test_a_generator_sees_no_more_images_at_once_than_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trigger, before = random_generator(), images()
    expected = trigger.apply(before)
    batches: list[int] = []
    mask = PatternNetwork.mask

    def spy(network: PatternNetwork, pixels: torch.Tensor) -> torch.Tensor:
        batches.append(len(pixels))
        return mask(network, pixels)

    monkeypatch.setattr(PatternNetwork, "mask", spy)
    for values, passed in ((4 * 8 * 8 * 3, [3, 1]), (1, [1, 1, 1, 1])):
        monkeypatch.setattr(generator, "VALUES_AT_ONCE", values)
        batches.clear()
        torch.testing.assert_close(trigger.apply(before), expected)
        assert batches == passed


def test_attacks_can_train_a_generator_through_its_trigger() -> None:
    network = PatternNetwork(2)
    GeneratorTrigger(network, (8, 8)).apply(images()).sum().backward()
    assert all(value.grad is not None for value in network.parameters())
