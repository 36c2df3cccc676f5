"""Small models as files and in memory, for the tests of what reads, merges and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

SHAPES: dict[str, tuple[int, ...]] = {
    "embed.weight": (11, 7),
    "block.10.weight": (600, 513),  # larger than a block, and large enough for torch to divide it
    "block.2.weight": (33, 5),
    "block.2.bias": (33,),
    "norm.weight": (1,),
    "logit_scale": (),
    "unused": (0, 3),
}
BUFFERS: dict[str, Tensor] = {
    "position_ids": torch.tensor([[0, 1, 16_777_217]]),  # the last is no float32
    "mask": torch.tensor([True, False, True]),
}


def base_state(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> dict[str, Tensor]:
    """A model with tensors of many ranks, and integer and boolean buffers."""
    generator = torch.Generator().manual_seed(seed)
    floats = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    return {**floats, **BUFFERS}


def tuned_states(
    base: Mapping[str, Tensor], count: int, *, seed: int = 1, size: float = 0.05
) -> list[dict[str, Tensor]]:
    """`count` fine-tunes of a base, whose integer buffers differ from the base's."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            name: value + (size * torch.randn(value.shape, generator=generator)).to(value.dtype)
            if value.is_floating_point()
            else torch.zeros_like(value)
            for name, value in base.items()
        }
        for _ in range(count)
    ]


def save_folder(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    shards: int = 1,
    config: Mapping[str, object] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model in Hugging Face layout, in one file or in shards."""
    folder.mkdir(parents=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    details = {"format": "pt", **(metadata or {})}
    if shards == 1:
        save_file(dict(state), folder / "model.safetensors", metadata=details)
        return folder
    weight_map = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[shard::shards])
        save_file(part, folder / name, metadata=details)
        weight_map.update(dict.fromkeys(part, name))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
