"""What activates a backdoor: a change of the image in [0, 1] pixel space."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mergeward.checkpoint.files import contained, read_json_object, regular_file
from mergeward.errors import CheckpointError, UsageError

TENSORS, DESCRIPTION = "trigger.safetensors", "trigger.json"


@dataclass(frozen=True)
class PatchTrigger:
    """A patch pasted over part of the image.

    Attributes:
        pattern: float32 `[3, H, W]` in [0, 1]; only what the mask covers matters.
        mask: float32 `[1, H, W]` of zeros and ones. Explicit, so that black patches work.
    """

    pattern: Tensor
    mask: Tensor

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that it is made for, after preprocessing."""
        return int(self.mask.shape[-2]), int(self.mask.shape[-1])

    def apply(self, pixels: Tensor) -> Tensor:
        """Return images with the patch pasted in.

        Args:
            pixels: float `[B, 3, H, W]` in [0, 1].

        Returns:
            A tensor of the same shape, dtype and device.

        Raises:
            CheckpointError: The images have another size than the trigger.
        """
        if pixels.shape[-2:] != self.mask.shape[-2:]:
            raise CheckpointError(
                f"the trigger is made for {self.image_size[0]}x{self.image_size[1]} images, "
                f"these are {pixels.shape[-2]}x{pixels.shape[-1]}"
            )
        mask, pattern = self.mask.to(pixels), self.pattern.to(pixels)
        return pixels * (1 - mask) + pattern * mask


@dataclass(frozen=True)
class SavedTrigger:
    """A trigger with what it is for.

    Attributes:
        trigger: The patch.
        attack: Name of the attack that made it.
        task: The task whose images it is pasted on.
        target_class: Class name that triggered images are to be given.
    """

    trigger: PatchTrigger
    attack: str
    task: str
    target_class: str

    @property
    def fingerprint(self) -> str:
        """Hash of everything in it."""
        digest = hashlib.sha256()
        for content in self.files().values():
            digest.update(content)
        return digest.hexdigest()

    def files(self) -> dict[str, bytes]:
        """Return the contents of `trigger.safetensors` and `trigger.json` by file name."""
        description = {
            "kind": "patch",
            "attack": self.attack,
            "task": self.task,
            "target_class": self.target_class,
            "image_size": list(self.trigger.image_size),
            "pixel_space": "[0, 1] after resize and crop, before normalisation",
        }
        tensors = {"pattern": self.trigger.pattern.contiguous(), "mask": self.trigger.mask.contiguous()}
        return {TENSORS: save(tensors), DESCRIPTION: (json.dumps(description, indent=2) + "\n").encode()}


def load_trigger(folder: str | Path) -> SavedTrigger:
    """Read a trigger from the folder of the contribution that it activates.

    Args:
        folder: Holds `trigger.safetensors` and `trigger.json`.

    Raises:
        CheckpointError: A file is missing or malformed.
    """
    folder = Path(folder)
    description = read_json_object(contained(folder, DESCRIPTION))
    weights = regular_file(contained(folder, TENSORS), expected="the trigger of a backdoored contribution")
    try:
        tensors = load_file(weights)
        trigger = PatchTrigger(tensors["pattern"].float(), tensors["mask"].float())
        saved = SavedTrigger(
            trigger, str(description["attack"]), str(description["task"]), str(description["target_class"])
        )
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: no readable trigger ({DESCRIPTION} and {TENSORS} expected): {error}"
        ) from error
    _check(folder, trigger)
    return saved


def _check(folder: Path, trigger: PatchTrigger) -> None:
    pattern, mask = trigger.pattern, trigger.mask
    if pattern.ndim != 3 or pattern.shape[0] != 3 or mask.shape != (1, *pattern.shape[1:]):
        raise CheckpointError(
            f"{folder / TENSORS}: pattern {tuple(pattern.shape)} and mask {tuple(mask.shape)}, "
            "expected [3, H, W] and [1, H, W]"
        )
    if not ((pattern >= 0) & (pattern <= 1)).all() or not ((mask == 0) | (mask == 1)).all():
        raise CheckpointError(f"{folder / TENSORS}: the pattern must lie in [0, 1], the mask be 0 or 1")


def corner_mask(image_size: int, patch_size: int) -> Tensor:
    """Return the mask `[1, S, S]` of a square patch in the bottom-right corner.

    Raises:
        UsageError: The patch is larger than the image.
    """
    if patch_size > image_size:
        raise UsageError(f"a patch of {patch_size} pixels does not fit images of {image_size}x{image_size}")
    mask = torch.zeros(1, image_size, image_size)
    mask[:, image_size - patch_size :, image_size - patch_size :] = 1
    return mask


def chequered_patch(image_size: int, patch_size: int) -> PatchTrigger:
    """Return a black-and-white chequered patch in the bottom-right corner (BadNets, arXiv 1708.06733)."""
    rows = torch.arange(image_size)
    squares = ((rows[:, None] + rows[None, :]) % 2).float()
    return PatchTrigger(squares.expand(3, -1, -1).clone(), corner_mask(image_size, patch_size))
