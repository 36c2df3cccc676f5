"""Named tensors and notes in one file that is always whole: what an interrupted run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mergeward.checkpoint.layout import Layout
from mergeward.checkpoint.source import Piece, TensorInfo
from mergeward.errors import OutputError

NOTES = "notes"
"""Key of the notes in the file's header, as JSON."""


def write_state(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write a state in place of the last one; a run killed meanwhile leaves the last one whole.

    Args:
        path: The file, in safetensors format.
        tensors: Copied to the file one at a time.
        notes: What JSON can hold.
    """
    infos = {
        name: TensorInfo(tuple(tensor.shape), tensor.dtype, path.name, tensor.nbytes)
        for name, tensor in tensors.items()
    }
    layout = Layout(infos, dtype=None, metadata={NOTES: json.dumps(notes)})
    unnamed = _unnamed(path)
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        layout.write_header(descriptor)
        for name, tensor in tensors.items():
            layout.write(descriptor, Piece(name, 0, tensor))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unnamed.replace(path)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and notes of a state; None if there is none.

    Raises:
        OutputError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()[NOTES])
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise OutputError(f"{path}: damaged ({error}); run without resuming to begin anew") from error


def remove_state(path: Path) -> None:
    """Remove a state if there is one, and what a run killed while it wrote one left."""
    path.unlink(missing_ok=True)
    _unnamed(path).unlink(missing_ok=True)


def _unnamed(path: Path) -> Path:
    return path.with_name(path.name + ".new")
