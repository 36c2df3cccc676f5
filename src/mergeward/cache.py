"""A content-addressed store: an artefact is made once, under the hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergeward.errors import OutputError

CONFIGURATION, CONTENTS = "configuration.json", "contents.json"
"""What an artefact was made from, and the SHA-256 of each of its files."""

_log = logging.getLogger(__name__)
_intact: set[Path] = set()
"""What this process has made or compared with its hashes."""


def cache_root() -> Path:
    """Return where artefacts live: `MERGEWARD_CACHE`, else `mergeward` in the user's cache folder."""
    if chosen := os.environ.get("MERGEWARD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mergeward"


def content_key(configuration: Mapping[str, Any]) -> str:
    """Return the hash of a configuration: equal for equal content, whatever the order of its keys."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def artefact(kind: str, configuration: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder of one artefact, making it if no complete one is in the store.

    Two processes that ask for the same artefact make it once. An interrupted one leaves nothing behind that
    a later call would take for complete. Its files are compared with their hashes when a process first asks
    for it; a damaged artefact is made again, with a warning in the log.

    Args:
        kind: Family of artefacts, the first level of the store ("contribution", "pixels", ...).
        configuration: JSON-like description of everything that decides the content.
        make: Called with an empty folder that it fills.

    Raises:
        OutputError: The store cannot be written.
    """
    final = artefact_folder(kind, configuration)
    if final in _intact and final.is_dir():
        return final
    try:
        if not _is_whole(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{final}.lock"):
                if not _is_whole(final):
                    _discard(final)
                    _make_atomically(final, configuration, make)
    except OSError as error:
        raise OutputError(f"cache folder {final.parent}: {error.strerror or error}") from error
    _intact.add(final)
    return final


def artefact_folder(kind: str, configuration: Mapping[str, Any]) -> Path:
    """Return where an artefact is, or would be; see `artefact`."""
    return cache_root() / kind / content_key(configuration)


def _is_whole(folder: Path) -> bool:
    """Whether an artefact is there with the contents it was made with."""
    if not folder.is_dir():
        return False
    if not (folder / CONTENTS).is_file():
        return True  # made before hashes were kept
    try:
        return bool(json.loads((folder / CONTENTS).read_bytes()) == _hashes(folder))
    except ValueError:
        return False


def _discard(folder: Path) -> None:
    if folder.is_dir():
        _log.warning("%s is damaged; it is made again", folder)
        shutil.rmtree(folder)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CONTENTS)
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_atomically(final: Path, configuration: Mapping[str, Any], make: Callable[[Path], None]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        make(scratch)
        (scratch / CONFIGURATION).write_text(json.dumps(configuration, indent=2, sort_keys=True))
        (scratch / CONTENTS).write_text(json.dumps(_hashes(scratch), indent=2))
        scratch.replace(final)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
