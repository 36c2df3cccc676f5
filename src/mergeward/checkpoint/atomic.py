"""A folder that is there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mergeward.errors import OutputError
from mergeward.output import try_writing_under

INTERRUPTED = ".interrupted"
FINGERPRINT = "fingerprint"

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
        with _reported(out, scratch):
            yield scratch
            _move(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def resumable_directory(out: str | Path, fingerprint: str, *, resume: bool) -> Iterator[Path]:
    """Yield a scratch folder as `atomic_directory` does, which an interrupted run leaves behind.

    It lies beside `out` as `.NAME.interrupted`. An error removes it; only an interruption (Ctrl-C, a killed
    process) does not.

    Args:
        out: The folder to make; it must not exist, or be empty.
        fingerprint: Tells what is being made: only a run of the same one can go on.
        resume: Whether to go on from what such a run left, if anything; otherwise it is removed first.

    Raises:
        OutputError: As in `atomic_directory`; or another process is writing `out`; or what was left behind
            is of another fingerprint.
    """
    target = vacant(out)
    scratch = target.parent / f".{target.name}{INTERRUPTED}"
    _make(target.parent, out)
    with _alone(scratch, out), _reported(out, scratch):
        _prepare(scratch, out, fingerprint, resume=resume)
        try:
            yield scratch
            (scratch / FINGERPRINT).unlink()
            _move(scratch, target)
        except Exception:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def interrupted(out: str | Path) -> bool:
    """Return whether a run that was to make a folder left something to go on from."""
    target = Path(out).resolve()
    return (target.parent / f".{target.name}{INTERRUPTED}" / FINGERPRINT).is_file()


@contextmanager
def _alone(scratch: Path, out: str | Path) -> Iterator[None]:
    """Hold the scratch folder for this process."""
    lock = FileLock(scratch.with_name(scratch.name + ".lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{out}: another process is writing it") from error
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _prepare(scratch: Path, out: str | Path, fingerprint: str, *, resume: bool) -> None:
    mark = scratch / FINGERPRINT
    if resume and mark.exists():
        if mark.read_text("utf-8") != fingerprint:
            raise OutputError(
                f"{out}: {scratch.name} is left of a run with other inputs or settings; "
                f"run without resuming to begin anew"
            )
        return
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    # The name appears with the whole text: a run killed here leaves nothing to go on from.
    unnamed = mark.with_suffix(".new")
    unnamed.write_text(fingerprint, "utf-8")
    unnamed.replace(mark)


@contextmanager
def _reported(out: str | Path, scratch: Path) -> Iterator[None]:
    """Turn what goes wrong in writing the folder into an error of ours."""
    try:
        yield
    except OSError as error:
        if not _is_ours(error, scratch):
            raise
        raise OutputError(f"{out}: {error.strerror or error}") from error


def _move(scratch: Path, target: Path) -> None:
    _sync(scratch)
    scratch.replace(target)
    _sync_entry(target.parent)


def vacant(out: str | Path) -> Path:
    """Return where a folder to be made really lies, if it can be and at most an empty one is there.

    For long work to ask before it starts; `atomic_directory` asks again.

    Raises:
        OutputError: There is something, or no folder can be made there.
    """
    try:
        target = Path(out).resolve()
        if target.exists() and not target.is_dir():
            raise OutputError(f"{out}: exists and is not a folder")
        if target.is_dir() and any(target.iterdir()):
            raise OutputError(f"{out}: exists and is not empty")
        try_writing_under(target.parent)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{out}: {getattr(error, 'strerror', None) or error}") from error
    return target


def _make(folder: Path, out: str | Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
