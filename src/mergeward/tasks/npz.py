"""Tasks from `.npz` files: `train_x`, `train_y`, `test_x`, `test_y`, `classnames`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mergeward.errors import DataError
from mergeward.images import ArrayImages, Pixels
from mergeward.tasks.splits import cut_development
from mergeward.tasks.task import Labels, Split, Task

REQUIRED = ("train_x", "train_y", "test_x", "test_y", "classnames")


def load_npz(path: Path, *, seed: int = 0) -> Task:
    """Load a task from one `.npz` file.

    The file holds `train_x` and `test_x` (uint8 `[N, H, W, 3]`), `train_y` and `test_y` (whole numbers
    `[N]`), `classnames` (strings), and optionally `train_group` (images of one group stay in one split).
    Pickled arrays are refused.

    Args:
        path: The file; its stem is the task's name.
        seed: Seed of the adapt and validation cut.

    Raises:
        DataError: The file is missing, is no `.npz`, lacks an array, or holds one of another form.
    """
    arrays = _read(path)
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise DataError(f"{path}: no array {missing[0]!r}; expected {', '.join(REQUIRED)}")
    class_names = tuple(str(name) for name in arrays["classnames"].tolist())
    if len(class_names) < 2:
        raise DataError(f"{path}: {len(class_names)} class; a task needs at least two")
    train_x, train_y = _labelled(path, arrays, "train", len(class_names))
    test_x, test_y = _labelled(path, arrays, "test", len(class_names))
    groups = arrays.get("train_group")
    if groups is not None and groups.shape != train_y.shape:
        raise DataError(f"{path}: train_group has shape {groups.shape}, expected {train_y.shape}")
    cut = cut_development(
        train_y, name=path.stem, seed=seed, groups=None if groups is None else groups.astype(np.int64)
    )
    return Task(
        name=path.stem,
        class_names=class_names,
        splits={
            "train": Split(ArrayImages(train_x[cut.train]), train_y[cut.train]),
            "adapt": Split(ArrayImages(train_x[cut.adapt]), train_y[cut.adapt]),
            "validation": Split(ArrayImages(train_x[cut.validation]), train_y[cut.validation]),
            "test": Split(ArrayImages(test_x), test_y),
        },
        summary=str(arrays["source"]) if "source" in arrays else "",
        licence=str(arrays["license"]) if "license" in arrays else "",
    )


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a task as .npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path}: not a readable .npz without pickles ({error})") from error


def _labelled(
    path: Path, arrays: dict[str, npt.NDArray[np.generic]], part: str, classes: int
) -> tuple[Pixels, Labels]:
    images, labels = arrays[f"{part}_x"], arrays[f"{part}_y"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{path}: {part}_x is {images.dtype} {images.shape}, expected uint8 [N, H, W, 3]")
    if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {part}_y is {labels.dtype} {labels.shape}, expected {len(images)} whole numbers"
        )
    whole = labels.astype(np.int64)
    if len(whole) == 0 or whole.min() < 0 or whole.max() >= classes:
        raise DataError(f"{path}: {part}_y must lie in 0..{classes - 1} and not be empty")
    return images.astype(np.uint8, copy=False), whole
