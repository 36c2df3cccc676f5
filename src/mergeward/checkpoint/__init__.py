"""One model on disk: opened lazily, checked, written atomically. Knows files; knows no merging."""

from mergeward.checkpoint.atomic import atomic_directory, interrupted, vacant
from mergeward.checkpoint.hub import local_path
from mergeward.checkpoint.reader import Checkpoint, digest_all, open_checkpoint
from mergeward.checkpoint.scope import check_compatible, resolve_scope
from mergeward.checkpoint.shards import SHARD_BYTES
from mergeward.checkpoint.source import InMemory, Piece, TensorInfo, TensorSource, whole_tensors
from mergeward.checkpoint.writer import Output, open_output, write_checkpoint

__all__ = [
    "SHARD_BYTES",
    "Checkpoint",
    "InMemory",
    "Output",
    "Piece",
    "TensorInfo",
    "TensorSource",
    "atomic_directory",
    "check_compatible",
    "digest_all",
    "interrupted",
    "local_path",
    "open_checkpoint",
    "open_output",
    "resolve_scope",
    "vacant",
    "whole_tensors",
    "write_checkpoint",
]
