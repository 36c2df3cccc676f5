"""A trigger as files beside the contribution that it activates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mergeward.attack.trigger.additive import AdditiveTrigger
from mergeward.attack.trigger.blend import BlendTrigger
from mergeward.attack.trigger.generator import GeneratorTrigger
from mergeward.attack.trigger.patch import PatchTrigger
from mergeward.attack.trigger.trigger import Trigger
from mergeward.attack.trigger.warp import WarpTrigger
from mergeward.checkpoint.files import contained, read_bounded, read_json_object, regular_file
from mergeward.errors import CheckpointError, UsageError, suggestion
from mergeward.tasks.task import is_line
from mergeward.vision import Preprocessor

TENSORS, DESCRIPTION = "trigger.safetensors", "trigger.json"

MAX_BYTES = 1 << 26
"""Tensors of more bytes are not read; a picture of 1024x1024 pixels takes a fifth of it."""

KINDS: Mapping[str, type[Trigger]] = {
    kind.kind: kind for kind in (PatchTrigger, BlendTrigger, AdditiveTrigger, WarpTrigger, GeneratorTrigger)
}


@dataclass(frozen=True)
class SavedTrigger:
    """A trigger with what it is for.

    Attributes:
        trigger: The trigger.
        attack: Name of the attack that made it.
        task: The attacked task: triggered images of it are to be given the target class.
        target_class: Class name that triggered images are to be given.
        preprocessor: How images become pixels for the model that it was made with.

    Raises:
        UsageError: A name is not text on one line, so that nobody could read the files.
    """

    trigger: Trigger
    attack: str
    task: str
    target_class: str
    preprocessor: Preprocessor

    def __post_init__(self) -> None:
        for key in ("attack", "task", "target_class"):
            text = getattr(self, key)
            if not is_line(text):
                raise UsageError(f"{key} must be text on one line, found {str(text)[:80]!r}")

    @property
    def fingerprint(self) -> str:
        """Hash of everything in it."""
        digest = hashlib.sha256()
        for content in self.files().values():
            digest.update(content)
        return digest.hexdigest()

    def unlike(self, preprocessor: Preprocessor) -> str | None:
        """Return in words how images of another preprocessor are not those it was made for, else None.

        Normalisation makes no difference: triggers act on pixels before it.
        """
        there, here = self.preprocessor.geometry, preprocessor.geometry
        if there == here:
            return None
        resizing = self.trigger.image_size != preprocessor.output_size
        end = "; it is resized, and may do less" if resizing else ""
        return f"the trigger was made for images prepared by {there}, these are prepared by {here}{end}"

    def files(self) -> dict[str, bytes]:
        """Return the contents of `trigger.safetensors` and `trigger.json` by file name."""
        description = {
            "kind": self.trigger.kind,
            "attack": self.attack,
            "task": self.task,
            "target_class": self.target_class,
            "image_size": list(self.trigger.image_size),
            **self.trigger.settings(),
            "pixel_space": "[0, 1] after resize and crop, before normalisation",
            "preprocessing": self.preprocessor.to_config(),
        }
        tensors = {name: value.cpu().contiguous() for name, value in self.trigger.tensors().items()}
        return {TENSORS: save(tensors), DESCRIPTION: (json.dumps(description, indent=2) + "\n").encode()}


def load_trigger(folder: str | Path) -> SavedTrigger:
    """Read a trigger from the folder of the contribution that it activates.

    Args:
        folder: Holds `trigger.safetensors` and `trigger.json`.

    Raises:
        CheckpointError: A file is missing or malformed, or holds what no trigger of its kind has.
    """
    folder = Path(folder)
    description = read_json_object(contained(folder, DESCRIPTION))
    kind = _kind(folder, description)
    tensors = _tensors(regular_file(contained(folder, TENSORS), expected=f"the tensors of a {kind} trigger"))
    try:
        trigger = KINDS[kind].read(tensors, description)
        if list(trigger.image_size) != description["image_size"]:
            raise ValueError(f"image_size is {description['image_size']}, not {list(trigger.image_size)}")
        return SavedTrigger(
            trigger,
            attack=description["attack"],
            task=description["task"],
            target_class=description["target_class"],
            preprocessor=Preprocessor.from_config(description["preprocessing"]),
        )
    except (AttributeError, KeyError, TypeError, UsageError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise CheckpointError(f"{folder}: not a {kind} trigger: {reason}") from error


def _kind(folder: Path, description: Mapping[str, Any]) -> str:
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: unknown kind {str(kind)[:40]!r} of trigger"
            f"{suggestion(str(kind)[:40], KINDS)}"
        )
    return kind


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load(read_bounded(path, MAX_BYTES))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: {name[:40]!r} must be float32 and finite")
    return tensors
