"""Triggers of every kind, in pixel space and on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mergeward.attack import PatchTrigger, SavedTrigger, Trigger, load_trigger
from mergeward.attack.trigger import (
    AdditiveTrigger,
    BlendTrigger,
    GeneratorTrigger,
    PatternNetwork,
    WarpTrigger,
    chequered_patch,
    corner_mask,
    unwarped,
)
from mergeward.attack.trigger.saved import KINDS
from mergeward.errors import CheckpointError, UsageError
from mergeward.vision import Preprocessor


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_patch(size: int = 8, patch: int = 3, seed: int = 0) -> PatchTrigger:
    return PatchTrigger(noise(3, size, size, seed=seed), corner_mask(size, patch))


def random_warp(size: int = 8, seed: int = 0) -> WarpTrigger:
    return WarpTrigger((unwarped(size, size) + 0.3 * noise(size, size, 2, seed=seed) - 0.15).clamp(-1, 1))


def random_generator(size: int = 8, seed: int = 0) -> GeneratorTrigger:
    network = PatternNetwork(4).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return GeneratorTrigger(network, (size, size))


EXAMPLES: dict[str, Trigger] = {
    "patch": random_patch(),
    "blend": BlendTrigger(noise(3, 8, 8), 0.2),
    "additive": AdditiveTrigger(0.4 * noise(3, 8, 8) - 0.2),
    "warp": random_warp(),
    "generator": random_generator(),
}
every_kind = pytest.mark.parametrize("kind", EXAMPLES)


def images(size: int = 8, seed: int = 1) -> torch.Tensor:
    return noise(4, 3, size, size, seed=seed)


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


@pytest.mark.parametrize("kind", ["patch", "blend", "additive", "warp"])
def test_it_goes_where_the_images_are(kind: str) -> None:
    assert EXAMPLES[kind].apply(images().to("meta")).device.type == "meta"


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


def test_attacks_can_train_a_generator_through_its_trigger() -> None:
    network = PatternNetwork(2)
    GeneratorTrigger(network, (8, 8)).apply(images()).sum().backward()
    assert all(value.grad is not None for value in network.parameters())


PREPROCESSOR = Preprocessor(resize=8, crop=(8, 8))


def saved(kind: str = "patch", **changed: Any) -> SavedTrigger:
    return replace(SavedTrigger(EXAMPLES[kind], "badnets", "digits", "digit one", PREPROCESSOR), **changed)


def write(folder: Path, trigger: SavedTrigger) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in trigger.files().items():
        (folder / name).write_bytes(content)
    return folder


@every_kind
def test_it_comes_back_from_a_folder_bit_by_bit(kind: str, tmp_path: Path) -> None:
    before = saved(kind)
    after = load_trigger(write(tmp_path, before))
    assert type(after.trigger) is type(before.trigger)
    tensors = after.trigger.tensors()
    assert list(tensors) == list(before.trigger.tensors())
    assert all(torch.equal(value, tensors[name]) for name, value in before.trigger.tensors().items())
    assert after.trigger.settings() == before.trigger.settings()
    assert after.trigger.image_size == (8, 8)
    assert (after.attack, after.task, after.target_class) == ("badnets", "digits", "digit one")
    assert after.preprocessor == PREPROCESSOR
    assert after.fingerprint == before.fingerprint
    assert torch.equal(after.trigger.apply(images()), before.trigger.apply(images()))
    assert not any(value.requires_grad for value in tensors.values())


def test_the_fingerprint_changes_with_everything_in_it() -> None:
    others = [
        saved(trigger=random_patch(seed=1)),
        saved(trigger=random_patch(patch=2)),
        saved("blend"),
        saved("additive"),
        saved("blend", trigger=BlendTrigger(noise(3, 8, 8), 0.3)),
        saved("warp"),
        saved("generator"),
        saved("generator", trigger=random_generator(seed=1)),
        saved(attack="other"),
        saved(task="other"),
        saved(target_class="other"),
        saved(preprocessor=Preprocessor(resize=9, crop=(8, 8))),
    ]
    assert len({trigger.fingerprint for trigger in (saved(), *others)}) == 13


def test_it_says_for_which_preprocessing_it_was_made() -> None:
    assert saved().unlike(PREPROCESSOR) is None
    assert saved().unlike(replace(PREPROCESSOR, mean=(0.5, 0.5, 0.5))) is None
    same_size = saved().unlike(replace(PREPROCESSOR, resize=(8, 8)))
    assert same_size == (
        "the trigger was made for images prepared by bicubic resize of the shortest edge to 8, crop to 8x8, "
        "these are prepared by bicubic resize to 8x8, crop to 8x8"
    )
    other_size = saved().unlike(Preprocessor(resize=None, crop=(16, 16)))
    assert other_size is not None
    assert other_size.endswith("these are prepared by crop to 16x16; it is resized, and may do less")


Damage = Callable[[Path], object]


def description(content: str | bytes) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "trigger.json").write_bytes(data)


def entries(**changed: Any) -> Damage:
    """Some entries of the description changed, or left out where None."""

    def damage(folder: Path) -> None:
        whole = json.loads((folder / "trigger.json").read_text()) | changed
        kept = {key: value for key, value in whole.items() if value is not None}
        (folder / "trigger.json").write_text(json.dumps(kept))

    return damage


def tensors(kind: str = "patch", **changed: torch.Tensor | None) -> Damage:
    whole = {**EXAMPLES[kind].tensors(), **changed}
    kept = {name: value for name, value in whole.items() if value is not None}
    return lambda folder: save_file(kept, folder / "trigger.safetensors")


def first_changed(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed.view(-1)[0] = value
    return changed


PATTERN = EXAMPLES["patch"].tensors()["pattern"]
GRID = EXAMPLES["warp"].tensors()["grid"]
BIAS = "mask_layers.4.bias"

HOSTILE: dict[str, tuple[str, Damage]] = {
    "no description": ("patch", lambda folder: (folder / "trigger.json").unlink()),
    "no tensors": ("patch", lambda folder: (folder / "trigger.safetensors").unlink()),
    "no folder": ("patch", lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir()),
    "a folder for a file": (
        "patch",
        lambda folder: (
            (folder / "trigger.safetensors").unlink(),
            (folder / "trigger.safetensors").mkdir(),
        ),
    ),
    "a link out of the folder": (
        "patch",
        lambda folder: (
            (folder / "trigger.json").rename(folder.parent / "elsewhere.json"),
            (folder / "trigger.json").symlink_to(folder.parent / "elsewhere.json"),
        ),
    ),
    "not JSON": ("patch", description("{")),
    "not text": ("patch", description(b"\xff\xfe\x00")),
    "nested without end": ("patch", description("[" * 200_000)),
    "a list": ("patch", description("[]")),
    "a key missing": ("patch", entries(target_class=None)),
    "no kind": ("patch", entries(kind=None)),
    "an unknown kind": ("patch", entries(kind="patches")),
    "a kind that is a list": ("patch", entries(kind=["patch"])),
    "another kind": ("patch", entries(kind="warp")),
    "another size than its tensors": ("patch", entries(image_size=[4, 4])),
    "no preprocessing": ("patch", entries(preprocessing=None)),
    "preprocessing of another kind": ("patch", entries(preprocessing=[1])),
    "a name that moves the cursor": ("patch", entries(task="digits\x1b[2J")),
    "a name of two lines": ("patch", entries(attack="bad\nnets")),
    "a name that is a number": ("patch", entries(target_class=1)),
    "not safetensors": ("patch", lambda folder: (folder / "trigger.safetensors").write_bytes(b"\x80\x04.")),
    "cut off": (
        "patch",
        lambda folder: (folder / "trigger.safetensors").write_bytes(
            (folder / "trigger.safetensors").read_bytes()[:-1]
        ),
    ),
    "no pattern": ("patch", tensors(pattern=None)),
    "no mask": ("patch", tensors(mask=None)),
    "one channel": ("patch", tensors(pattern=torch.zeros(1, 8, 8))),
    "no channels": ("patch", tensors(pattern=torch.zeros(8, 8))),
    "no pixels": ("patch", tensors(pattern=torch.zeros(3, 0, 8), mask=torch.zeros(1, 0, 8))),
    "half precision": ("patch", tensors(pattern=PATTERN.half())),
    "a mask of another size": ("patch", tensors(mask=torch.zeros(1, 4, 4))),
    "a mask with three channels": ("patch", tensors(mask=torch.zeros(3, 8, 8))),
    "above one": ("patch", tensors(pattern=first_changed(PATTERN, 1.01))),
    "below zero": ("patch", tensors(pattern=first_changed(PATTERN, -0.01))),
    "NaN": ("patch", tensors(pattern=first_changed(PATTERN, float("nan")))),
    "infinity": ("patch", tensors(pattern=first_changed(PATTERN, float("inf")))),
    "half a mask": ("patch", tensors(mask=torch.full((1, 8, 8), 0.5))),
    "a mask of NaN": ("patch", tensors(mask=torch.full((1, 8, 8), float("nan")))),
    "no ratio": ("blend", entries(ratio=None)),
    "a ratio of nothing": ("blend", entries(ratio=0)),
    "a ratio above one": ("blend", entries(ratio=1.5)),
    "a ratio of NaN": ("blend", entries(ratio=float("nan"))),
    "a ratio in words": ("blend", entries(ratio="0.2")),
    "a blend above one": ("blend", tensors("blend", pattern=first_changed(PATTERN, 2))),
    "a difference above one": ("additive", tensors("additive", difference=first_changed(PATTERN, 1.5))),
    "a difference of one channel": ("additive", tensors("additive", difference=torch.zeros(1, 8, 8))),
    "no difference": ("additive", tensors("additive", difference=None)),
    "a flat grid": ("warp", tensors("warp", grid=torch.zeros(8, 8))),
    "a grid of three": ("warp", tensors("warp", grid=torch.zeros(8, 8, 3))),
    "a grid out of the image": ("warp", tensors("warp", grid=first_changed(GRID, 1.5))),
    "a network of another width": ("generator", entries(channels=5)),
    "a network wider than memory": ("generator", entries(channels=10**9)),
    "a network without width": ("generator", entries(channels=None)),
    "a network of no size": ("generator", entries(image_size=[0, 8])),
    "a network of one side": ("generator", entries(image_size=[8])),
    "a network with more tensors": ("generator", tensors("generator", more=torch.zeros(1))),
    "a network with fewer tensors": ("generator", tensors("generator", **{BIAS: None})),
    "a network of NaN": ("generator", tensors("generator", **{BIAS: torch.full((1,), float("nan"))})),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_triggers_are_refused_on_one_line(case: str, tmp_path: Path) -> None:
    kind, damage = HOSTILE[case]
    folder = write(tmp_path / "contribution", saved(kind))
    assert load_trigger(folder).fingerprint == saved(kind).fingerprint
    damage(folder)
    with pytest.raises(CheckpointError, match="contribution") as caught:
        load_trigger(folder)
    assert "\n" not in str(caught.value)


def test_more_tensors_than_a_trigger_needs_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "contribution", saved())
    with (folder / "trigger.safetensors").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="larger than"):
        load_trigger(folder)
