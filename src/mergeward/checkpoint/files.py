"""Files that others wrote: which may be opened, and how much of them is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mergeward.errors import CheckpointError

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
CONVERT = "use 'mergeward convert' to make safetensors of it"
MAX_JSON_BYTES = 1 << 24
"""A hundred thousand tensors fit into an index of this size; a larger file of JSON is not read."""

MAX_JSON_VALUES = 500_000
"""A file of JSON with more values is not parsed: a value takes fifty times the memory of its text."""


def contained(folder: Path, name: str) -> Path:
    """Return the path of a file that a model's folder names.

    Links within the folder are followed. A link out of it is refused, but for those of the hub's own cache
    (`snapshots/<revision>/file` -> `blobs/<hash>` of the same model).

    Args:
        folder: The model's folder.
        name: The file's name as the folder's content spells it, so not to be trusted.

    Raises:
        CheckpointError: The name is not a plain file name, or the file lies elsewhere.
    """
    if name in {"", ".", ".."} or any(character in name for character in "/\\\0:"):
        raise CheckpointError(
            f"{folder}: file name {name!r} may lead out of the folder; expected a plain name"
        )
    path, root = folder / name, folder.resolve()
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: a link that leads nowhere") from error
    in_hub_cache = root.parent.name == "snapshots" and target.parent == root.parent.parent / "blobs"
    if target.parent != root and not in_hub_cache:
        raise CheckpointError(f"{path}: a link out of its folder; expected the file itself")
    return path


def regular_file(path: Path, *, expected: str, pickles: bool = False) -> Path:
    """Return `path` if it is a regular file that is no pickle and no Git-LFS pointer.

    Args:
        path: The file.
        expected: What it should be, in words, for the error.
        pickles: Whether it may have the name of a pickle after all, for those who read it without running it.

    Raises:
        CheckpointError: It is missing, a device, a pipe, a pickle by name, or a Git-LFS pointer.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES and not pickles:
        raise CheckpointError(f"{path}: pickle, which can run code when it is read; {CONVERT}")
    if not path.exists():
        raise CheckpointError(f"{path}: no such file; expected {expected}")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a regular file; expected {expected}")
    if first_bytes(path, len(LFS_MAGIC)) == LFS_MAGIC:
        raise CheckpointError(
            f"{path}: a Git-LFS pointer and not the file itself; fetch it with git lfs pull"
        )
    return path


def exists(path: Path) -> bool:
    """Return whether there is something of that name, a link that leads nowhere among it."""
    return path.exists() or path.is_symlink()


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a file, or fewer where it is shorter.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of a file of at most `limit` bytes.

    Raises:
        CheckpointError: It is larger, or cannot be read.
    """
    content = first_bytes(path, limit + 1)
    if len(content) > limit:
        raise CheckpointError(f"{path}: larger than {limit} bytes")
    return content


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        CheckpointError: The file is missing, too large, no JSON object, or has a key twice.
    """
    regular_file(path, expected="a JSON file")
    return parse_json_object(read_bounded(path, MAX_JSON_BYTES), where=path)


def check_json_size(content: bytes, *, where: Path) -> None:
    """Count the values of some JSON before it is parsed.

    Raises:
        CheckpointError: There are more than `MAX_JSON_VALUES`.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise CheckpointError(f"{where}: more than {MAX_JSON_VALUES} values")


def parse_json_object(content: bytes, *, where: Path) -> dict[str, Any]:
    """Return the JSON object in `content`, from the file `where`.

    Raises:
        CheckpointError: It is no JSON object, has too many values, or an object in it has a key twice.
    """
    check_json_size(content, where=where)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise CheckpointError(f"{where}: key {key!r} appears twice")
            seen[key] = value
        return seen

    try:
        parsed = json.loads(content.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: not readable as JSON ({type(error).__name__})") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{where}: expected a JSON object")
    return parsed
