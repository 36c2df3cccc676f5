"""A content-addressed store: an artefact is made once, under the hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergeward.errors import OutputError


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
    a later call would take for complete.

    Args:
        kind: Family of artefacts, the first level of the store ("contribution", "pixels", ...).
        configuration: JSON-like description of everything that decides the content.
        make: Called with an empty folder that it fills.

    Raises:
        OutputError: The store cannot be written.
    """
    final = cache_root() / kind / content_key(configuration)
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{final}.lock"):
            if not final.is_dir():
                _make_atomically(final, configuration, make)
    except OSError as error:
        raise OutputError(f"cache folder {final.parent}: {error.strerror or error}") from error
    return final


def _make_atomically(final: Path, configuration: Mapping[str, Any], make: Callable[[Path], None]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        make(scratch)
        (scratch / "configuration.json").write_text(json.dumps(configuration, indent=2, sort_keys=True))
        scratch.replace(final)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
