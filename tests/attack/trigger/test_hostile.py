"""Trigger folders of others, which may hold anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from example_triggers import EXAMPLES, saved, write
from mergeward.attack import load_trigger
from mergeward.attack.trigger import GeneratorTrigger, PatternNetwork
from mergeward.attack.trigger.trigger import MAX_SIDE
from mergeward.errors import CheckpointError

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
    "a name with a space that does not break": ("patch", entries(target_class="stop\u00a0sign")),
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
    "images larger than memory": ("generator", entries(image_size=[1 << 14, 1 << 14])),
    "images one pixel too wide": ("generator", entries(image_size=[8, 1025])),
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


@pytest.mark.parametrize(("channels", "side", "most"), [(256, 1024, 16), (256, 257, 254)])
def test_a_wide_network_is_for_small_images(channels: int, side: int, most: int) -> None:
    wide = PatternNetwork(channels).state_dict()
    message = f"{channels} channels are too many for images of {side}x{side}, at most {most}"
    with pytest.raises(ValueError, match=message):
        GeneratorTrigger.read(wide, {"channels": channels, "image_size": [side, side]})
    assert GeneratorTrigger.read(wide, {"channels": channels, "image_size": [256, 256]}).size == (256, 256)


def test_a_network_as_the_attack_has_it_is_read_at_every_size() -> None:
    usual = PatternNetwork()
    description = {"channels": usual.channels, "image_size": [MAX_SIDE, MAX_SIDE]}
    assert GeneratorTrigger.read(usual.state_dict(), description).size == (MAX_SIDE, MAX_SIDE)


def test_more_tensors_than_a_trigger_needs_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "contribution", saved())
    with (folder / "trigger.safetensors").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="larger than"):
        load_trigger(folder)
