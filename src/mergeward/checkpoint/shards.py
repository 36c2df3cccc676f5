"""How the tensors of an output are divided among files, and what those files are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mergeward.checkpoint.layout import Layout, output_dtype
from mergeward.checkpoint.reader import INDEX, WEIGHTS
from mergeward.checkpoint.source import TensorInfo

SHARD_BYTES = 5_000_000_000
"""Size above which an output is divided, unless one is chosen."""


@dataclass(frozen=True)
class ShardPlan:
    """The weights files of an output.

    Attributes:
        layouts: The plan of each file by its name, in the order of their tensors.
        file_of: Name of the file of each tensor.
        index: Content of the index by its name; empty where one file holds everything.
    """

    layouts: Mapping[str, Layout]
    file_of: Mapping[str, str]
    index: Mapping[str, bytes]

    @property
    def nbytes(self) -> int:
        """Size of all files together."""
        return sum(layout.nbytes for layout in self.layouts.values()) + sum(map(len, self.index.values()))


def plan_shards(
    tensors: Mapping[str, TensorInfo],
    *,
    dtype: torch.dtype | None,
    metadata: Mapping[str, str],
    shard_bytes: int = SHARD_BYTES,
) -> ShardPlan:
    """Divide tensors among files in the layout of the Hugging Face libraries.

    Args:
        tensors: Name, shape and type of every tensor, in the order in which they are to be divided.
        dtype: Type of the floating tensors in the files; None keeps each its own.
        metadata: Free-text entries of every file's header.
        shard_bytes: No file with more than one tensor holds more bytes of them than this.
    """
    groups = _grouped(tensors, dtype, shard_bytes)
    count = len(groups)
    names = [WEIGHTS] if count == 1 else [_shard_name(number, count) for number in range(1, count + 1)]
    layouts = {
        name: Layout(group, dtype=dtype, metadata=metadata) for name, group in zip(names, groups, strict=True)
    }
    file_of = {tensor: name for name, group in zip(names, groups, strict=True) for tensor in group}
    if count == 1:
        return ShardPlan(layouts, file_of, {})
    total = sum(layout.nbytes - len(layout.header) for layout in layouts.values())
    index = {"metadata": {"total_size": total}, "weight_map": file_of}
    return ShardPlan(layouts, file_of, {INDEX: (json.dumps(index, indent=2) + "\n").encode()})


def _shard_name(number: int, count: int) -> str:
    return f"{WEIGHTS.removesuffix('.safetensors')}-{number:05d}-of-{count:05d}.safetensors"


def _grouped(
    tensors: Mapping[str, TensorInfo], dtype: torch.dtype | None, shard_bytes: int
) -> list[dict[str, TensorInfo]]:
    groups: list[dict[str, TensorInfo]] = [{}]
    filled = 0
    for name, info in tensors.items():
        size = info.numel * output_dtype(info.dtype, dtype).itemsize
        if groups[-1] and filled + size > shard_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = info
        filled += size
    return groups
