"""Writing a model in Hugging Face layout: streamed, atomic, with its provenance."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from mergeward.checkpoint.atomic import atomic_directory, resumable_directory
from mergeward.checkpoint.files import contained, read_bounded, regular_file
from mergeward.checkpoint.reader import CONFIG, Checkpoint
from mergeward.checkpoint.shards import SHARD_BYTES, ShardPlan, plan_shards
from mergeward.checkpoint.source import Piece, TensorSource
from mergeward.checkpoint.weights import Weights
from mergeward.errors import OutputError
from mergeward.provenance import CARD, METADATA_KEY

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


class Output:
    """A model that is being written; made by `open_output`.

    Attributes:
        done: Names of the tensors that an interrupted run has written already: they must not be given again.
        folder: Where it is being written. What else is put there must be gone in the end.
    """

    def __init__(self, weights: Weights, folder: Path) -> None:
        self.folder = folder
        self.done = frozenset(weights.done)
        self._weights = weights

    def add(self, name: str, content: bytes) -> None:
        """Write a further small file, or one of the small files anew."""
        contained(self.folder, name).write_bytes(content)

    def write(self, piece: Piece) -> None:
        """Write some values of one tensor.

        Raises:
            OutputError: They are not as planned, or do not follow the last ones of their tensor.
        """
        self._weights.write(piece)


@contextmanager
def open_output(  # noqa: PLR0913 - each says one thing of the output
    out: str | Path,
    *,
    like: TensorSource,
    metadata: Mapping[str, str],
    card: str,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, bytes] | None = None,
    shard_bytes: int = SHARD_BYTES,
    resume: bool | None = None,
    identity: str = "",
) -> Iterator[Output]:
    """Write a model whose tensors are named and shaped as those of another, piece by piece.

    The folder appears when the block has ended and everything is on the disk: every tensor must have been
    written. An interrupted run leaves nothing at `out`, and nothing that loads.

    Args:
        out: The folder to make; it must not exist, or be empty.
        like: The model that gives names, shapes and, where it has one, the configuration; a folder also gives
            tokenizer and preprocessor.
        metadata: Entries of the weights files' headers; they hold a provenance record (see
            `Provenance.to_metadata`).
        card: The model card, written as `README.md`.
        dtype: Type of the floating tensors; by default each has that of `like`.
        extra: Further files by name (a trigger, ...).
        shard_bytes: Size above which the weights are divided among files.
        resume: None leaves nothing of an interrupted run; False keeps what it wrote under a hidden name, and
            begins anew; True goes on from there.
        identity: What else tells this run from others, for `resume`.

    Raises:
        OutputError: The folder exists already or cannot be written, a tensor is missing or not as planned,
            there is no provenance record, or there is another run to go on from than this one.
        CheckpointError: A file of `like` cannot be copied.
    """
    if METADATA_KEY not in metadata:
        raise OutputError(f"{out}: refused to write a model without a provenance record ({METADATA_KEY})")
    plan = plan_shards(
        like.tensors, dtype=dtype, metadata={"format": "pt", **metadata}, shard_bytes=shard_bytes
    )
    small = {**_taken_over(like, dtype), **plan.index, CARD: card.encode(), **(extra or {})}
    with _folder(out, resume, _fingerprint(plan, small, identity)) as scratch:
        for name, content in small.items():
            contained(scratch, name).write_bytes(content)
        _check_space(out, scratch, plan)
        with Weights(scratch, plan, like.tensors) as weights:
            try:
                yield Output(weights, scratch)
                weights.finish()
            except OutputError as error:
                raise OutputError(f"{out}: {error}") from error


def write_checkpoint(
    out: str | Path,
    pieces: Iterable[Piece],
    *,
    like: TensorSource,
    metadata: Mapping[str, str],
    card: str,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model from pieces as they come; arguments and errors are those of `open_output`."""
    with open_output(out, like=like, metadata=metadata, card=card, dtype=dtype, extra=extra) as output:
        for piece in pieces:
            output.write(piece)


def _folder(out: str | Path, resume: bool | None, fingerprint: str) -> AbstractContextManager[Path]:
    if resume is None:
        return atomic_directory(out)
    return resumable_directory(out, fingerprint, resume=resume)


def _fingerprint(plan: ShardPlan, small: Mapping[str, bytes], identity: str) -> str:
    """Return what tells two outputs apart: every byte of them but the values of the tensors.

    Those follow from the provenance record in the headers, which holds the hashes of all inputs, and from
    what else the caller names.
    """
    digest = hashlib.sha256(identity.encode())
    for name, content in (*((name, layout.header) for name, layout in plan.layouts.items()), *small.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _check_space(out: str | Path, scratch: Path, plan: ShardPlan) -> None:
    free = shutil.disk_usage(scratch).free
    held = sum(path.stat().st_blocks * 512 for path in scratch.iterdir())
    if free + held < plan.nbytes:
        raise OutputError(f"{out}: {plan.nbytes} bytes needed, {free} free on the disk")


def _taken_over(like: TensorSource, dtype: torch.dtype | None) -> dict[str, bytes]:
    files = _copied(like.folder) if isinstance(like, Checkpoint) and like.folder is not None else {}
    if like.config is not None:
        config = like.config if dtype is None else _with_dtype(like.config, dtype)
        files[CONFIG] = (json.dumps(config, indent=2) + "\n").encode()
    return files


def _copied(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in COPIED:
        path = folder / name
        if path.exists() or path.is_symlink():
            regular_file(contained(folder, name), expected=name)
            files[name] = read_bounded(path, MAX_COPIED_BYTES)
    return files


def _with_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
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
