"""Triggers in pixel space and on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mergeward.attack import PatchTrigger, SavedTrigger, load_trigger
from mergeward.attack.trigger import chequered_patch, corner_mask
from mergeward.errors import CheckpointError, UsageError


def random_trigger(size: int = 8, patch: int = 3, seed: int = 0) -> PatchTrigger:
    generator = torch.Generator().manual_seed(seed)
    return PatchTrigger(torch.rand(3, size, size, generator=generator), corner_mask(size, patch))


def images(size: int = 8, seed: int = 1) -> torch.Tensor:
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(seed))


@given(size=st.integers(1, 9), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_it_replaces_what_the_mask_covers_and_nothing_else(size: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(1, size, size, generator=generator) < share).float()
    trigger = PatchTrigger(torch.rand(3, size, size, generator=generator), mask)
    before = images(size, seed)
    after = trigger.apply(before)
    covered = mask.bool().expand_as(before)
    assert torch.equal(after[~covered], before[~covered])
    assert torch.equal(after[covered], trigger.pattern.expand_as(before)[covered])
    assert torch.equal(trigger.apply(after), after)


def test_the_images_it_is_given_are_left_as_they_are() -> None:
    before = images()
    kept = before.clone()
    random_trigger().apply(before)
    assert torch.equal(before, kept)


def test_a_black_patch_is_black() -> None:
    black = PatchTrigger(torch.zeros(3, 8, 8), corner_mask(8, 3))
    after = black.apply(torch.ones(2, 3, 8, 8))
    assert (after == 0).sum() == 2 * 3 * 9
    assert after[..., 5:, 5:].max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_type_and_device_are_the_images(dtype: torch.dtype) -> None:
    after = random_trigger().apply(images().to(dtype))
    assert after.dtype == dtype
    assert random_trigger().apply(images().to("meta", dtype)).device.type == "meta"


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(CheckpointError, match="made for 8x8 images, these are 16x16"):
        random_trigger().apply(images(16))


def test_a_chequered_patch_alternates_in_its_corner() -> None:
    after = chequered_patch(8, 2).apply(torch.full((1, 3, 8, 8), 0.5))
    assert after[0, :, 6:, 6:].tolist() == [[[0.0, 1.0], [1.0, 0.0]]] * 3
    assert (after == 0.5).sum() == 3 * (64 - 4)


def test_a_patch_larger_than_the_image_is_refused() -> None:
    assert corner_mask(4, 4).sum() == 16
    with pytest.raises(UsageError, match="a patch of 5 pixels does not fit images of 4x4"):
        corner_mask(4, 5)


SAVED = SavedTrigger(random_trigger(), "badnets", "digits", "digit one")


def write(folder: Path, saved: SavedTrigger = SAVED) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in saved.files().items():
        (folder / name).write_bytes(content)
    return folder


def test_it_comes_back_from_a_folder_as_it_was(tmp_path: Path) -> None:
    loaded = load_trigger(write(tmp_path))
    assert torch.equal(loaded.trigger.pattern, SAVED.trigger.pattern)
    assert torch.equal(loaded.trigger.mask, SAVED.trigger.mask)
    assert (loaded.attack, loaded.task, loaded.target_class) == ("badnets", "digits", "digit one")
    assert loaded.fingerprint == SAVED.fingerprint
    assert loaded.trigger.image_size == (8, 8)


def test_the_fingerprint_changes_with_everything_in_it() -> None:
    others = [
        replace(SAVED, trigger=random_trigger(seed=1)),
        replace(SAVED, trigger=random_trigger(patch=2)),
        replace(SAVED, attack="other"),
        replace(SAVED, task="other"),
        replace(SAVED, target_class="other"),
    ]
    assert len({saved.fingerprint for saved in (SAVED, *others)}) == 6


Damage = Callable[[Path], object]


def description(content: str | bytes) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / "trigger.json").write_bytes(data)


def tensors(**changed: torch.Tensor | None) -> Damage:
    whole = {"pattern": SAVED.trigger.pattern, "mask": SAVED.trigger.mask, **changed}
    kept = {name: value for name, value in whole.items() if value is not None}
    return lambda folder: save_file(kept, folder / "trigger.safetensors")


def pattern_with(value: float) -> torch.Tensor:
    pattern = SAVED.trigger.pattern.clone()
    pattern[0, 0, 0] = value
    return pattern


HOSTILE: dict[str, Damage] = {
    "no description": lambda folder: (folder / "trigger.json").unlink(),
    "no tensors": lambda folder: (folder / "trigger.safetensors").unlink(),
    "no folder": lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir(),
    "a folder for a file": lambda folder: (
        (folder / "trigger.safetensors").unlink(),
        (folder / "trigger.safetensors").mkdir(),
    ),
    "a link out of the folder": lambda folder: (
        (folder / "trigger.json").rename(folder.parent / "elsewhere.json"),
        (folder / "trigger.json").symlink_to(folder.parent / "elsewhere.json"),
    ),
    "not JSON": description("{"),
    "not text": description(b"\xff\xfe\x00"),
    "nested without end": description("[" * 200_000),
    "a list": description("[]"),
    "a key missing": description(json.dumps({"attack": "badnets", "task": "digits"})),
    "not safetensors": lambda folder: (folder / "trigger.safetensors").write_bytes(b"\x80\x04."),
    "cut off": lambda folder: (folder / "trigger.safetensors").write_bytes(
        (folder / "trigger.safetensors").read_bytes()[:-1]
    ),
    "no pattern": tensors(pattern=None),
    "no mask": tensors(mask=None),
    "one channel": tensors(pattern=torch.zeros(1, 8, 8)),
    "no channels": tensors(pattern=torch.zeros(8, 8)),
    "a mask of another size": tensors(mask=torch.zeros(1, 4, 4)),
    "a mask with three channels": tensors(mask=torch.zeros(3, 8, 8)),
    "above one": tensors(pattern=pattern_with(1.01)),
    "below zero": tensors(pattern=pattern_with(-0.01)),
    "NaN": tensors(pattern=pattern_with(float("nan"))),
    "infinity": tensors(pattern=pattern_with(float("inf"))),
    "half a mask": tensors(mask=torch.full((1, 8, 8), 0.5)),
    "a mask of NaN": tensors(mask=torch.full((1, 8, 8), float("nan"))),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_triggers_are_refused_on_one_line(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "contribution")
    HOSTILE[kind](folder)
    with pytest.raises(CheckpointError, match="contribution") as caught:
        load_trigger(folder)
    assert "\n" not in str(caught.value)
