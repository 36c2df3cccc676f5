"""Tasks from `.npz` files: `train_x`, `train_y`, `test_x`, `test_y`, `classnames`."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mergeward.errors import DataError
from mergeward.images import ArrayImages
from mergeward.tasks.splits import Part, make_splits
from mergeward.tasks.task import Labels, Task, checked_class_names

REQUIRED = ("train_x", "train_y", "test_x", "test_y", "classnames")
OPTIONAL = ("train_group", "source", "license")
MAX_BYTES = 4 << 30
"""A file whose arrays take more than this, unpacked, is refused unread."""

Arrays = Mapping[str, npt.NDArray[np.generic]]

# What zipfile and numpy raise on files that are cut off, damaged, encrypted, pickled or no archive at all.
_DAMAGED = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_npz(path: Path, *, seed: int = 0) -> Task:
    """Load a task from one `.npz` file.

    The file holds `train_x` and `test_x` (uint8 `[N, H, W, 3]`), `train_y` and `test_y` (whole numbers
    `[N]`), `classnames` (strings), and optionally `train_group` (whole numbers `[N]`: images of one group
    stay in one split), `source` and `license` (strings). Pickled arrays are refused. Training images that are
    also test images are left out.

    Args:
        path: The file; its stem is the task's name.
        seed: Seed of the adapt and validation cut.

    Raises:
        DataError: The file is missing, is no `.npz`, is larger than 4 GiB, lacks an array, or holds one of
            another form.
    """
    arrays = _read(path)
    class_names = _class_names(path, arrays)
    train = _part(path, arrays, "train", len(class_names))
    test = _part(path, arrays, "test", len(class_names))
    return Task(
        name=path.stem,
        class_names=class_names,
        splits=make_splits(train, test=test, name=path.stem, class_names=class_names, seed=seed),
        summary=str(arrays["source"]) if "source" in arrays else "",
        licence=str(arrays["license"]) if "license" in arrays else "",
    )


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a task as .npz")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes of arrays; at most {MAX_BYTES} are read")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*REQUIRED, *OPTIONAL) if key in archive.files}
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a readable .npz without pickles ({reason})") from error
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise DataError(f"{path}: no array {missing[0]!r}; expected {', '.join(REQUIRED)}")
    return arrays


def _class_names(path: Path, arrays: Arrays) -> tuple[str, ...]:
    names = arrays["classnames"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"{path}: classnames is {names.dtype} {names.shape}, expected strings [C]")
    return checked_class_names((str(name) for name in names), where=path)


def _part(path: Path, arrays: Arrays, name: str, classes: int) -> Part:
    images = arrays[f"{name}_x"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
        raise DataError(f"{path}: {name}_x is {images.dtype} {images.shape}, expected uint8 [N, H, W, 3]")
    whole = _whole_numbers(path, arrays, f"{name}_y", len(images))
    if len(whole) == 0 or whole.min() < 0 or whole.max() >= classes:
        raise DataError(f"{path}: {name}_y must lie in 0..{classes - 1} and not be empty")
    groups = None
    if f"{name}_group" in arrays:
        groups = _whole_numbers(path, arrays, f"{name}_group", len(images))
    return Part(ArrayImages(images.astype(np.uint8, copy=False)), whole, groups)


def _whole_numbers(path: Path, arrays: Arrays, key: str, count: int) -> Labels:
    values = arrays[key]
    if values.shape != (count,) or values.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}, expected {count} whole numbers")
    return values.astype(np.int64)
