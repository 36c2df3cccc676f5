"""Writing a model in Hugging Face layout: streamed, atomic, with its provenance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint.atomic import atomic_directory
from mergeward.checkpoint.files import contained, read_bounded, regular_file
from mergeward.checkpoint.layout import Layout
from mergeward.checkpoint.reader import CONFIG, WEIGHTS, Checkpoint
from mergeward.errors import OutputError
from mergeward.provenance import METADATA_KEY

COPIED = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "generation_config.json",
)
"""What an output takes over from the model it is like, besides `config.json`."""

MAX_COPIED_BYTES = 1 << 28
CARD = "README.md"


def write_checkpoint(
    out: str | Path,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    like: Checkpoint,
    metadata: Mapping[str, str],
    card: str,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model whose tensors are named and shaped as those of another.

    Tensors may come in any order and are written as they come; one at a time is held. The folder appears when
    everything is written and synced. An interrupted run leaves nothing at `out`, and nothing that loads.

    Args:
        out: The folder to make; it must not exist, or be empty.
        tensors: Every tensor of `like` once, floating ones as `dtype`.
        like: The model that gives names, shapes and, where it is a folder, configuration, tokenizer and
            preprocessor.
        metadata: Entries of the weights file's header; they hold a provenance record (see
            `Provenance.to_metadata`).
        card: The model card, written as `README.md`.
        dtype: Type of the floating tensors; by default each has that of `like`.
        extra: Further files by name (a trigger, ...).

    Raises:
        OutputError: The folder exists already or cannot be written, a tensor is missing or not as planned, or
            there is no provenance record.
        CheckpointError: A file of `like` cannot be copied.
    """
    if METADATA_KEY not in metadata:
        raise OutputError(f"{out}: refused to write a model without a provenance record ({METADATA_KEY})")
    layout = Layout(like.tensors, dtype=dtype, metadata={"format": "pt", **metadata})
    small = {**_taken_over(like, dtype), CARD: card.encode(), **(extra or {})}
    with atomic_directory(out) as scratch:
        _check_space(out, scratch, layout.nbytes + sum(map(len, small.values())))
        _write_weights(out, scratch, layout, tensors)
        for name, content in small.items():
            contained(scratch, name).write_bytes(content)


def _check_space(out: str | Path, scratch: Path, needed: int) -> None:
    free = shutil.disk_usage(scratch).free
    if free < needed:
        raise OutputError(f"{out}: {needed} bytes needed, {free} free on the disk")


def _write_weights(
    out: str | Path, scratch: Path, layout: Layout, tensors: Iterable[tuple[str, Tensor]]
) -> None:
    # The name it is written under is one that nothing loads: the header is whole from the start.
    partial = scratch / f"{WEIGHTS}.partial"
    written: set[str] = set()
    with partial.open("wb") as file:
        layout.write_header(file)
        for name, tensor in tensors:
            if name in written:
                raise OutputError(f"{out}: tensor {name!r} given twice")
            layout.write(file, name, tensor)
            written.add(name)
    if missing := layout.missing(written):
        raise OutputError(f"{out}: {len(missing)} tensors not given, {missing[0]!r} the first of them")
    partial.rename(scratch / WEIGHTS)


def _taken_over(like: Checkpoint, dtype: torch.dtype | None) -> dict[str, bytes]:
    if like.folder is None:
        return {}
    files = {}
    for name in COPIED:
        path = like.folder / name
        if path.exists() or path.is_symlink():
            regular_file(contained(like.folder, name), expected=name)
            files[name] = read_bounded(path, MAX_COPIED_BYTES)
    if like.config is not None:
        config = like.config if dtype is None else _with_dtype(like.config, dtype)
        files[CONFIG] = (json.dumps(config, indent=2) + "\n").encode()
    return files


def _with_dtype(config: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return the configuration with every note of the weights' type brought up to date."""
    name = str(dtype).removeprefix("torch.")
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if key in {"dtype", "torch_dtype"} and value is not None:
            changed[key] = name
        elif isinstance(value, dict) and key.endswith("_config"):
            changed[key] = _with_dtype(value, dtype)
        else:
            changed[key] = value
    return changed
