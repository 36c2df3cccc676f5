"""Freeing what suites keep in the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from mergeward.cache import cache_root, remove_artefact

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
    # what begins with a dot is not finished
    for artefact in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        freed += _size(artefact)
        if not dry_run:
            with FileLock(f"{artefact}.lock"):  # nobody is making it now
                remove_artefact(artefact)
    return freed + _clean_unfinished(folder, dry_run)


def _clean_unfinished(folder: Path, dry_run: bool) -> int:
    """Remove what runs that were killed had begun to make, or to remove: `.KEY-...`."""
    freed = 0
    for begun in sorted(path for path in folder.glob(".*-*") if path.is_dir()):
        key = begun.name[1:].partition("-")[0]
        try:
            with FileLock(folder / f"{key}.lock", timeout=0):
                freed += _size(begun)
                if not dry_run:
                    shutil.rmtree(begun, ignore_errors=True)
        except Timeout:
            continue  # somebody is at it
    return freed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
