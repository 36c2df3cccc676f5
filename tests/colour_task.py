"""Tasks that the tiny CLIP learns in a few steps: noise tinted in one colour a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from letter_clip import SIDE
from mergeward.images import ArrayImages
from mergeward.tasks import SPLIT_NAMES, Split, Task

COLOURS = {"red square": 0, "blue circle": 2}


def colour_task(name: str = "colours", *, images: int = 16, seed: int = 0, side: int = SIDE) -> Task:
    """A task of two classes, `images` in every split, none of them twice."""
    generator = np.random.default_rng([seed, *name.encode()])
    splits = {}
    for split in SPLIT_NAMES:
        labels = np.arange(images, dtype=np.int64) % len(COLOURS)
        pixels = generator.integers(0, 120, (images, side, side, 3), dtype=np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            image[..., list(COLOURS.values())[label]] += 120
        splits[split] = Split(ArrayImages(pixels), labels)
    return Task(name, tuple(COLOURS), splits)


def save_colour_task(folder: Path, name: str, *, side: int = SIDE) -> Path:
    """Write such a task as `.npz`: 24 training and 8 test images."""
    folder.mkdir(parents=True, exist_ok=True)
    task = colour_task(name, images=24, side=side)
    arrays = {}
    for part, count in (("train", 24), ("test", 8)):
        split = task.split(part)
        arrays |= {f"{part}_x": split.images.pixels[:count], f"{part}_y": split.labels[:count]}
    np.savez(folder / f"{name}.npz", classnames=np.array(task.class_names), **arrays)
    return folder / f"{name}.npz"
