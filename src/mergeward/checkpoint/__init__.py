"""One model on disk: opened lazily, checked, written atomically. Knows files; knows no merging."""

from mergeward.checkpoint.adapter import Adapter, Factors, is_adapter, open_contribution
from mergeward.checkpoint.atomic import atomic_directory, interrupted, vacant
from mergeward.checkpoint.digests import digest_all, digest_of
from mergeward.checkpoint.files import PICKLE_SUFFIXES
from mergeward.checkpoint.hub import local_path
from mergeward.checkpoint.legacy import LegacyCheckpoint, open_legacy
from mergeward.checkpoint.mark import Described, carries_mark
from mergeward.checkpoint.openclip import Activation, as_hugging_face, is_openclip
from mergeward.checkpoint.qkv import fuse_qkv, split_qkv
from mergeward.checkpoint.reader import Checkpoint, open_checkpoint
from mergeward.checkpoint.scope import check_compatible, resolve_scope
from mergeward.checkpoint.shards import SHARD_BYTES
from mergeward.checkpoint.source import Floats, InMemory, Piece, TensorInfo, TensorSource, whole_tensors
from mergeward.checkpoint.views import Rearranged
from mergeward.checkpoint.writer import Output, open_output, write_checkpoint

__all__ = [
    "PICKLE_SUFFIXES",
    "SHARD_BYTES",
    "Activation",
    "Adapter",
    "Checkpoint",
    "Described",
    "Factors",
    "Floats",
    "InMemory",
    "LegacyCheckpoint",
    "Output",
    "Piece",
    "Rearranged",
    "TensorInfo",
    "TensorSource",
    "as_hugging_face",
    "atomic_directory",
    "carries_mark",
    "check_compatible",
    "digest_all",
    "digest_of",
    "fuse_qkv",
    "interrupted",
    "is_adapter",
    "is_openclip",
    "local_path",
    "open_checkpoint",
    "open_contribution",
    "open_legacy",
    "open_output",
    "resolve_scope",
    "split_qkv",
    "vacant",
    "whole_tensors",
    "write_checkpoint",
]
