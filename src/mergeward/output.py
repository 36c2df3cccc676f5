"""Single files that are there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mergeward.errors import OutputError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a scratch file's path beside `path`, which takes its place when the block ends without an error.

    Missing parent folders are made. On any error the scratch file is removed, and what was at `path` stays.

    Args:
        path: The file to write; an older one is replaced.

    Raises:
        OutputError: It cannot be written, or names no file.

    Example:
        >>> with replaced(Path("figures.json")) as scratch:  # doctest: +SKIP
        ...     scratch.write_text("{}")
    """
    if not path.name:
        raise OutputError(f"{str(path)!r}: expected the name of a file to write")
    scratch = path.parent / f".{path.name}.{secrets.token_hex(6)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            _flush(scratch)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def replaceable(path: Path) -> None:
    """Refuse a file that could not be written later: for long work to ask before it starts.

    Args:
        path: The file to be written; nothing is left there.

    Raises:
        OutputError: It cannot be written, is a folder, or names no file.
    """
    if not path.name or path.is_dir():
        raise OutputError(f"{str(path)!r}: expected the name of a file to write")
    try:
        try_writing_under(path.absolute().parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def try_writing_under(folder: Path) -> None:
    """Make a file in a folder, or in the nearest one above it that exists, and take it away again.

    Permissions alone do not tell whether that is possible.

    Raises:
        OSError: It is not.
    """
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise what safetensors meets as it writes, a full disk say, as the error of the system that it is.

    Raises:
        OSError: The system refused something inside the block.

    Example:
        >>> with system_errors():  # doctest: +SKIP
        ...     save_file(tensors, path)
    """
    try:
        yield
    except SafetensorError as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        if told is None:
            raise
        raise OSError(number := int(told[1]), os.strerror(number)) from error


def _flush(path: Path) -> None:
    """Have the bytes on the disk before the file gets its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
