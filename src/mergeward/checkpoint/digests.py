"""SHA-256 of files, remembered for large ones as long as the file system says that they are unchanged."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mergeward.cache import cache_root, content_key
from mergeward.compute import in_order
from mergeward.errors import CheckpointError
from mergeward.progress import track

REMEMBERED_BYTES = 1 << 26
"""A smaller file is hashed faster than it is worth a note in the cache."""

SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within the same tick of the clock that dates it."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    A large file that has been hashed before is not read again while device, number, size and both times of
    change are the same: no program can set the last of them back.

    Args:
        path: The file.

    Raises:
        CheckpointError: It cannot be read, or changes meanwhile.
    """
    try:
        before = path.stat()
        note = _note(path, before)
        if note is not None and (known := _remembered(note)):
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _identity(path, path.stat()) != _identity(path, before):
            raise CheckpointError(f"{path}: changed while it was read")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    if note is not None:
        _remember(note, digest)
    return digest


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256 for several files: that of a single one itself, else that of their list.

    Args:
        hashes: The SHA-256 of each file by its name.
    """
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    listing = "".join(f"{value}  {name}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


class Hashed(Protocol):
    """A model that some files decide."""

    @property
    def hashed_files(self) -> tuple[Path, ...]:
        """Those files."""


def digest_all(models: Sequence[Hashed]) -> list[str]:
    """Return the digest of each model; every file is read once, and several at a time."""
    files = tuple(dict.fromkeys(path for one in models for path in one.hashed_files))
    reading = track(files, "hashing inputs", nbytes=lambda path: path.stat().st_size)
    hashes = dict(zip(files, in_order(file_sha256, reading), strict=True))
    return [digest_of({path.name: hashes[path] for path in one.hashed_files}) for one in models]


def _identity(path: Path, status: os.stat_result) -> dict[str, str | int]:
    return {
        "path": str(path.resolve()),
        "device": status.st_dev,
        "number": status.st_ino,
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
    }


def _note(path: Path, status: os.stat_result) -> Path | None:
    """Return where the digest of a file would be noted; None where it is not worth it, or not safe yet."""
    recent = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED_NS
    if status.st_size < REMEMBERED_BYTES or recent:
        return None
    return cache_root() / "digest" / content_key(_identity(path, status))


def _remembered(note: Path) -> str | None:
    try:
        text = note.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _remember(note: Path, digest: str) -> None:
    scratch = note.with_name(f".{note.name}-{secrets.token_hex(6)}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(digest, "ascii")
        scratch.replace(note)
    except OSError:
        # A store that cannot be written costs time and nothing else.
        return
