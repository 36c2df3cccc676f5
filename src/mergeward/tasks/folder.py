"""Tasks from folders of image files, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mergeward.errors import DataError
from mergeward.images import FileImages
from mergeward.tasks.splits import Part, make_splits
from mergeward.tasks.task import Task, checked_class_names

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"})
PARTS = ("train", "validation", "test")
EXPECTED = "expected DIR/<class>/*.png, or DIR/train/<class>/*.png and DIR/test/<class>/*.png"


def load_folder(path: Path, *, seed: int = 0) -> Task:
    """Load a task from a folder of image files (`.png`, `.jpg`, `.jpeg`, `.bmp`, `.webp`, `.ppm`).

    The folder holds one folder a class, named as the class with underscores for spaces. Or it holds `train`
    and `test`, and perhaps `validation`, each with the same class folders; what it does not hold is cut from
    the training images. Labels follow the class folders' names in sorted order. Other files, and files whose
    name starts with a dot, are not read. Training images that are also test images are left out.

    Args:
        path: The folder; its name is the task's name.
        seed: Seed of the cuts.

    Raises:
        DataError: The folder is missing, is laid out otherwise, has one class, a class without images, or a
            link that leads out of it. (An image that cannot be decoded is named when it is first used.)
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; {EXPECTED}")
    root = path.resolve()
    folders = _folders(path, root)
    names = {folder.name for folder in folders}
    if {"train", "test"} <= names:
        if odd := sorted(names - set(PARTS)):
            raise DataError(f"{path / odd[0]}: neither train, validation nor test; {EXPECTED}")
        classes = {name: _folders(path / name, root) for name in PARTS if name in names}
    else:
        classes = {"train": folders}
    class_names = _class_names(path, classes["train"])
    for name, found in classes.items():
        _check_same(path, name, found, classes["train"])
    parts = {name: _part(found, root) for name, found in classes.items()}
    return Task(
        name=root.name,
        class_names=class_names,
        splits=make_splits(**parts, name=root.name, class_names=class_names, seed=seed),
    )


def _folders(path: Path, root: Path) -> list[Path]:
    return sorted(entry for entry in _entries(path, root) if entry.is_dir())


def _entries(path: Path, root: Path) -> list[Path]:
    """Return what a folder holds and is not hidden; refuse links that lead out of the task's folder."""
    try:
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    for entry in entries:
        if entry.is_symlink() and not _leads_inside(entry, root):
            raise DataError(f"{entry}: a link out of the folder; expected the file itself")
    return entries


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _class_names(path: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    if len(folders) < 2:
        raise DataError(f"{path}: {len(folders)} class folders, a task needs at least two; {EXPECTED}")
    return checked_class_names((folder.name.replace("_", " ") for folder in folders), where=path)


def _check_same(path: Path, part: str, found: Sequence[Path], train: Sequence[Path]) -> None:
    odd = sorted({folder.name for folder in found} ^ {folder.name for folder in train})
    if odd:
        raise DataError(f"{path}: class folder {odd[0]!r} is in only one of train and {part}; {EXPECTED}")


def _part(folders: Sequence[Path], root: Path) -> Part:
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        images = sorted(
            entry for entry in _entries(folder, root) if entry.suffix.lower() in SUFFIXES and entry.is_file()
        )
        if not images:
            raise DataError(f"{folder}: no image ({', '.join(sorted(SUFFIXES))}); {EXPECTED}")
        paths += images
        labels += [label] * len(images)
    return Part(FileImages.of(paths), np.array(labels, dtype=np.int64))
