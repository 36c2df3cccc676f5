"""How the tensors of an output are divided among files."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch

from mergeward.checkpoint.shards import plan_shards
from mergeward.checkpoint.source import InMemory

STATE = {f"layers.{index}": torch.zeros(10) for index in range(7)} | {
    "mask": torch.zeros(3, dtype=torch.bool)
}
TENSORS = InMemory(STATE).tensors


def plan(shard_bytes: int, dtype: torch.dtype | None = None):
    return plan_shards(TENSORS, dtype=dtype, metadata={"format": "pt"}, shard_bytes=shard_bytes)


def test_what_fits_is_one_file_without_an_index() -> None:
    found = plan(283)
    assert list(found.layouts) == ["model.safetensors"]
    assert (set(found.file_of.values()), found.index) == ({"model.safetensors"}, {})
    assert found.nbytes == found.layouts["model.safetensors"].nbytes


@pytest.mark.parametrize("shard_bytes", [1, 40, 100, 120, 282])
def test_no_file_of_several_tensors_is_larger_than_asked(shard_bytes: int) -> None:
    found = plan(shard_bytes)
    held: dict[str, list[str]] = {name: [] for name in found.layouts}
    for tensor, file in found.file_of.items():
        held[file].append(tensor)
    sizes = [sum(TENSORS[tensor].nbytes for tensor in tensors) for tensors in held.values()]
    for size, tensors in zip(sizes, held.values(), strict=True):
        assert tensors
        assert size <= shard_bytes or len(tensors) == 1
    assert all(
        size + TENSORS[after[0]].nbytes > shard_bytes
        for size, (_, after) in zip(sizes, pairwise(held.values()), strict=False)
    )
    assert [tensor for tensors in held.values() for tensor in tensors] == list(TENSORS)


def test_files_are_numbered_and_indexed_as_the_libraries_do() -> None:
    found = plan(120)
    assert list(found.layouts) == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = json.loads(found.index["model.safetensors.index.json"])
    assert index == {"metadata": {"total_size": 283}, "weight_map": found.file_of}


def test_sizes_are_those_of_the_output() -> None:
    assert len(plan(143).layouts) > 1
    assert len(plan(143, torch.float16).layouts) == 1
