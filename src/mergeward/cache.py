"""A content-addressed store: an artefact is made once, under the hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergeward.errors import UNWRITABLE, OutputError
from mergeward.shared import CONTENTS, SharedStore, sha256

CONFIGURATION = "configuration.json"
"""The file of an artefact with what it was made from."""

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


def artefact(
    kind: str,
    configuration: Mapping[str, Any],
    make: Callable[[Path], None],
    shared: SharedStore | None = None,
) -> Path:
    """Return the folder of one artefact, making it if no complete one is in the store.

    Two processes that ask for the same artefact make it once. An interrupted one leaves nothing behind that
    a later call would take for complete. Its files are compared with their hashes when a process first asks
    for it; a damaged artefact is made again, with a warning in the log.

    Args:
        kind: Family of artefacts, the first level of the store ("contribution", "pixels", ...).
        configuration: JSON-like description of everything that decides the content.
        make: Called with an empty folder that it fills.
        shared: A store of several machines: what it has is fetched and not made, what it lacks is put there.

    Raises:
        OutputError: A store cannot be written.
        OSError: What `make` met, if it is no matter of writing.
    """
    final = artefact_folder(kind, configuration)
    try:
        if not (final in _intact and final.is_dir()):
            _have(final, configuration, make, shared)
    except _MakingError as error:
        raise error.cause from None
    except OSError as error:
        raise OutputError(f"cache folder {final.parent}: {error.strerror or error}") from error
    _intact.add(final)
    if shared is not None and (final / CONTENTS).is_file():
        shared.keep(_name(final), final)
    return final


class _MakingError(Exception):
    """What the making of an artefact met, not the store."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def artefact_folder(kind: str, configuration: Mapping[str, Any]) -> Path:
    """Return where an artefact is, or would be; see `artefact`."""
    return cache_root() / kind / content_key(configuration)


def _have(
    final: Path,
    configuration: Mapping[str, Any],
    make: Callable[[Path], None],
    shared: SharedStore | None,
) -> None:
    """See to it that an artefact is whole: as it is, from the shared store, or made."""
    if _is_whole(final):
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{final}.lock"):
        if _is_whole(final):
            return
        _discard(final)
        if shared is None or not _fetch(final, shared):
            _make(final, configuration, make)


def _is_whole(folder: Path) -> bool:
    """Whether an artefact is there with the contents it was made with."""
    if not folder.is_dir():
        return False
    try:
        return bool(json.loads((folder / CONTENTS).read_bytes()) == _hashes(folder))
    except (ValueError, FileNotFoundError):
        return False  # damaged, or half removed


def _discard(folder: Path) -> None:
    if folder.is_dir():
        _log.warning("%s is damaged; it is made again", folder)
        remove_artefact(folder)


def remove_artefact(folder: Path) -> None:
    """Remove an artefact; interrupted, it leaves nothing that would be taken for one.

    Raises:
        OSError: It cannot be removed.
    """
    doomed = folder.with_name(f".{folder.name}-removed-{os.getpid()}")
    folder.replace(doomed)
    shutil.rmtree(doomed)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CONTENTS)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _fetch(final: Path, shared: SharedStore) -> bool:
    with _scratch(final) as folder:
        found = shared.fetch(_name(final), folder)
        if found:
            folder.replace(final)
    return found


def _make(final: Path, configuration: Mapping[str, Any], make: Callable[[Path], None]) -> None:
    with _scratch(final) as folder:
        try:
            make(folder)
        except OSError as error:
            if error.errno in UNWRITABLE:
                raise
            raise _MakingError(error) from error
        (folder / CONFIGURATION).write_text(json.dumps(configuration, indent=2, sort_keys=True))
        (folder / CONTENTS).write_text(json.dumps(_hashes(folder), indent=2))
        folder.replace(final)


@contextmanager
def _scratch(final: Path) -> Iterator[Path]:
    """An empty folder beside an artefact's, which is gone afterwards unless it became the artefact."""
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(final: Path) -> str:
    """What the shared store calls an artefact."""
    return f"{final.parent.name}/{final.name}"
