"""Models by their hub id (`owner/name`): fetched into, or found in, the hub's own cache."""

from __future__ import annotations

import re
from pathlib import Path

from mergeward.errors import CheckpointError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FETCHED = ("*.safetensors", "*.json", "*.txt")


def local_path(name: str | Path) -> Path:
    """Return where a model lies on disk, fetching it if it is a hub id.

    What exists on disk comes first; only a name that does not, that looks like `owner/name`, and whose owner
    is not a folder here, is looked for on the hub: a mistyped path is no download. Of a hub model only
    safetensors, JSON and text files of its top folder are fetched.

    Args:
        name: Path or hub id.

    Raises:
        CheckpointError: There is nothing of that name on disk, nor on the hub (or the hub cannot be reached).
    """
    path = Path(name)
    if path.exists() or path.is_symlink():
        return path
    if isinstance(name, Path) or not HUB_ID.fullmatch(name):
        raise CheckpointError(f"{name}: no such file or folder")
    if path.parent.is_dir():
        raise CheckpointError(f"{name}: not in the folder {path.parent}, so it is not looked for on the hub")
    return _snapshot(name)


def _snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and seldom needed
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED), ignore_patterns=["*/*"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{name}: no such file or folder, and the hub does not give a model of that name "
            f"({type(error).__name__}: {reason})"
        ) from error
