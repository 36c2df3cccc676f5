"""Random images as arrays and files, for the tests of what loads and prepares them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mergeward.images import Pixels
from mergeward.tasks import SPLIT_NAMES, Task


def noise(count: int, *, height: int = 8, width: int = 8, seed: int = 0) -> Pixels:
    """uint8 `[count, height, width, 3]` of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def npz_arrays(*, train: int = 60, test: int = 12, classes: int = 3) -> dict[str, Any]:
    """The arrays of a good task file."""
    return {
        "train_x": noise(train, seed=1),
        "train_y": np.arange(train) % classes,
        "test_x": noise(test, seed=2),
        "test_y": np.arange(test) % classes,
        "classnames": np.array([f"class {label}" for label in range(classes)]),
    }


def write_npz(path: Path, arrays: Mapping[str, Any] | None = None) -> Path:
    """Write a task file."""
    np.savez_compressed(path, **(npz_arrays() if arrays is None else arrays))
    return path


def write_folder(
    path: Path,
    counts: Mapping[str, int],
    *,
    suffix: str = ".png",
    seed: int = 0,
) -> Path:
    """Write a folder of images, `counts` of them in each of its subfolders."""
    pixels = iter(noise(sum(counts.values()), seed=seed))
    for name, count in counts.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(next(pixels)).save(path / name / f"{index:03}{suffix}")
    return path


def split_contents(task: Task) -> dict[str, list[bytes]]:
    """The decoded images of each split, as bytes."""
    return {
        name: [task.splits[name].images.decode(index).tobytes() for index in range(len(task.splits[name]))]
        for name in SPLIT_NAMES
    }


def assert_disjoint(task: Task) -> None:
    """No image is in two splits, and none is empty."""
    seen: dict[bytes, str] = {}
    for name, images in split_contents(task).items():
        assert images, f"{task.name}: {name} is empty"
        for image in images:
            assert seen.setdefault(image, name) == name, f"{task.name}: an image in {seen[image]} and {name}"
