"""Finds a task by the words a user names it with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mergeward.errors import DataError, unknown_name
from mergeward.tasks.embedded import EMBEDDED, load_embedded
from mergeward.tasks.folder import load_folder
from mergeward.tasks.hub import load_hub
from mergeward.tasks.npz import load_npz
from mergeward.tasks.task import Task

HUB_PREFIX = "hf:"


def load_task(spec: str | Path, *, data: Path | None = None, seed: int = 0) -> Task:
    """Load a task by its spec.

    A spec is, in this order:

    1. `hf:` and a Hugging Face dataset: a folder, or a hub id with or without `@` and a revision (needs the
       extra `datasets`);
    2. a path, if it is a `Path`, is absolute, starts with a dot, contains a separator or ends with `.npz`: an
       `.npz` file or a folder of images;
    3. with `data`, the name of `DATA/<spec>.npz` or of the folder `DATA/<spec>`;
    4. the name of an embedded task.

    Args:
        spec: What to load.
        data: Folder of task files, for specs that are names.
        seed: Seed of everything random about the task: which images go to which split, and for embedded
            tasks the pictures themselves.

    Raises:
        UsageError: There is no task of that name.
        DataError: The file or folder is missing or of another form.
        UnsupportedError: A Hugging Face dataset, and the extra `datasets` is not installed.

    Example:
        >>> load_task("digits").class_names[:2]
        ('digit zero', 'digit one')
    """
    return _loader(spec, data)(seed=seed)


def check_task(spec: str | Path, *, data: Path | None = None) -> None:
    """Check that there is a task of that spec, as `load_task` looks for it; no image is read.

    Whether the hub has a dataset is not asked.

    Raises:
        UsageError: There is no task of that name.
        DataError: There is no such file or folder.
    """
    _loader(spec, data)


def task_names(data: Path | None = None) -> list[str]:
    """Return the names of the tasks in a folder, sorted, or those of the embedded tasks.

    Args:
        data: Folder of `.npz` files and folders of images; None for the embedded tasks.

    Raises:
        DataError: `data` is no folder.
    """
    if data is None:
        return list(EMBEDDED)
    _require_folder(data)
    visible = [path for path in data.iterdir() if not path.name.startswith(".")]
    found = {path.stem for path in visible if path.suffix == ".npz"}
    found |= {path.name for path in visible if path.is_dir()}
    return sorted(found)


def _looks_like_path(spec: str) -> bool:
    return (
        spec.startswith(".")
        or any(separator in spec for separator in "/\\")
        or spec.lower().endswith(".npz")
        or Path(spec).is_absolute()
    )


def _loader(spec: str | Path, data: Path | None) -> Callable[..., Task]:
    if isinstance(spec, str) and spec.startswith(HUB_PREFIX):
        return partial(load_hub, spec.removeprefix(HUB_PREFIX))
    if isinstance(spec, Path) or _looks_like_path(spec):
        return _path_loader(Path(spec))
    if data is not None:
        _require_folder(data)
        for path in (data / f"{spec}.npz", data / spec):
            if spec and path.exists():
                return _path_loader(path)
    if spec in EMBEDDED:
        return partial(load_embedded, spec)
    in_data = [] if data is None else task_names(data)
    raise unknown_name("task", spec, {*in_data, *EMBEDDED})


def _path_loader(path: Path) -> Callable[..., Task]:
    if path.is_dir():
        return partial(load_folder, path)
    if path.is_file():
        return partial(load_npz, path)
    raise DataError(f"{path}: no such file or folder; expected a task as .npz or as a folder of images")


def _require_folder(data: Path) -> None:
    if not data.is_dir():
        raise DataError(
            f"{data}: no such folder; expected one that holds tasks as .npz or as folders of images"
        )
