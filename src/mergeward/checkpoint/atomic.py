"""A folder that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeward.errors import OutputError

_WRITE_FAILURES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENAMETOOLONG}
)


@contextmanager
def atomic_directory(out: str | Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` when the block ends without an error.

    The scratch folder lies beside `out` under a hidden name. It is removed on any error, Ctrl-C included. A
    process that is killed leaves it under its hidden name, and nothing at `out`.

    Args:
        out: The folder to make; it must not exist, or be empty.

    Raises:
        OutputError: `out` holds something already, or cannot be written (permission, full disk).

    Example:
        >>> with atomic_directory("out") as scratch:  # doctest: +SKIP
        ...     (scratch / "figures.json").write_text("{}")
    """
    target = vacant(out)
    scratch = target.parent / f".{target.name}.{secrets.token_hex(6)}.partial"
    _make(scratch, out)
    try:
        yield scratch
        _sync(scratch)
        scratch.replace(target)
        _sync_entry(target.parent)
    except OSError as error:
        if not _is_ours(error, scratch):
            raise
        raise OutputError(f"{out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def vacant(out: str | Path) -> Path:
    """Return where a folder to be made really lies, if there is nothing there but perhaps an empty one.

    For long work to ask before it starts; `atomic_directory` asks again.

    Raises:
        OutputError: There is something.
    """
    try:
        target = Path(out).resolve()
        if target.exists() and not target.is_dir():
            raise OutputError(f"{out}: exists and is not a folder")
        if target.is_dir() and any(target.iterdir()):
            raise OutputError(f"{out}: exists and is not empty")
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{out}: {error}") from error
    return target


def _make(scratch: Path, out: str | Path) -> None:
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from error


def _is_ours(error: OSError, scratch: Path) -> bool:
    """Whether an error is about writing the folder, and not about something the block read."""
    named = error.filename
    return error.errno in _WRITE_FAILURES or (
        isinstance(named, str | os.PathLike) and Path(named).is_relative_to(scratch)
    )


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_entry(folder)


def _sync_entry(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
