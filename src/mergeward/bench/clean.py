"""Freeing what suites keep in the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from mergeward.cache import cache_root

MODELS = ("merge", "hardened")
"""Kinds of artefacts that take the room and are made again from the contributions in little time."""

EVERYTHING = (*MODELS, "contribution", "predictions", "cost")


def clean(*, everything: bool = False, dry_run: bool = False) -> dict[str, int]:
    """Remove artefacts of suites from the store; bases and prepared images stay.

    Args:
        everything: Whether to remove contributions and figures too, and not only merged models.
        dry_run: Whether to remove nothing and only tell.

    Returns:
        Bytes by kind of artefact.
    """
    return {kind: _clean(cache_root() / kind, dry_run) for kind in (EVERYTHING if everything else MODELS)}


def _clean(folder: Path, dry_run: bool) -> int:
    freed = 0
    # what begins with a dot is being made just now
    for artefact in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        freed += sum(path.stat().st_size for path in artefact.rglob("*") if path.is_file())
        if not dry_run:
            with FileLock(f"{artefact}.lock"):  # nobody is making it now
                shutil.rmtree(artefact, ignore_errors=True)
    return freed
