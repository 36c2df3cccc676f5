"""Triggers by themselves: taken over from published files, and shown."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from mergeward.attack import SavedTrigger, attack_info, load_trigger
from mergeward.attack.trigger.published import read_published_patch
from mergeward.checkpoint import atomic_directory
from mergeward.errors import OutputError
from mergeward.vision import Preprocessor

SIDE = 224
"""The size that the published triggers are made for, and about that of a picture."""


def import_trigger(
    file: str | Path,
    out: str | Path,
    *,
    task: str,
    target_class: str,
    attack: str = "badmerging-on",
    image_size: int = SIDE,
) -> SavedTrigger:
    """Make a saved trigger of one that BadMerging's authors published.

    Args:
        file: A `.npy` file, in CLIP's normalised pixel space.
        out: Folder to write, with `trigger.safetensors` and `trigger.json`; must not exist.
        task: Name of the task that it attacks.
        target_class: Name of the class that triggered images are to be given.
        attack: The attack that it belongs to, as `mergeward list attacks` prints them.
        image_size: Side of the images that it is made for, in pixels, at most 1024.

    Raises:
        CheckpointError: The file is no such trigger.
        UsageError: It is larger than the images, or these are too large; there is no such attack; or a name
            is not text on one line.
        OutputError: `out` cannot be written.
    """
    attack_info(attack)
    trigger = read_published_patch(file, image_size)
    preprocessor = Preprocessor(resize=image_size, crop=(image_size, image_size))
    saved = SavedTrigger(trigger, attack, task, target_class, preprocessor)
    with atomic_directory(out) as folder:
        for name, content in saved.files().items():
            (folder / name).write_bytes(content)
    return saved


def show_trigger(folder: str | Path, out: str | Path) -> SavedTrigger:
    """Draw a trigger.

    Args:
        folder: Holds `trigger.safetensors` and `trigger.json`.
        out: PNG file to write; must not exist. A small picture is enlarged by a whole factor.

    Raises:
        CheckpointError: There is no trigger, or it is malformed.
        OutputError: `out` is there already, or cannot be written.
    """
    saved = load_trigger(folder)
    pixels = (saved.trigger.picture().permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(pixels)
    factor = max(1, SIDE // max(picture.size))
    enlarged = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
    try:
        with Path(out).open("xb") as file:
            enlarged.save(file, format="PNG")
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from error
    return saved
