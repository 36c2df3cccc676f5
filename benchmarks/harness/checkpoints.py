"""Synthetic checkpoints with the tensor names and shapes of real models; made once, kept in the cache."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

WEIGHT_SCALE = 0.02
UPDATE_SCALE = 0.002
"""Standard deviation of a contribution's update: a tenth of the weights', so that bfloat16 holds it."""

DONE = "complete"
ROOM = 1.1
"""Free space asked for, as a multiple of what is to be written."""


@dataclass(frozen=True)
class Model:
    """What a family of checkpoints looks like.

    Attributes:
        name: Name of its folder.
        shapes: Shape of every tensor, by name.
        dtype: Type of every tensor.
        shard_bytes: Largest shard; None for one plain file.
        config: Content of `config.json`; None for plain files.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    dtype: torch.dtype
    shard_bytes: int | None = None
    config: Mapping[str, Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors of one checkpoint."""
        return sum(map(math.prod, self.shapes.values())) * self.dtype.itemsize


def clip_vision(name: str, *, width: int, layers: int, patch: int = 14, image: int = 224) -> Model:
    """Return a CLIP image tower with projection, float32, plain files: ViT-L/14 is width 1024, 24 layers."""
    top = "vision_model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{top}.embeddings.class_embedding": (width,),
        f"{top}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{top}.embeddings.position_embedding.weight": ((image // patch) ** 2 + 1, width),
        f"{top}.pre_layrnorm.weight": (width,),
        f"{top}.pre_layrnorm.bias": (width,),
    }
    for layer in range(layers):
        prefix = f"{top}.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{prefix}.self_attn.{part}", width, width)
        shapes |= _linear(f"{prefix}.mlp.fc1", 4 * width, width) | _linear(
            f"{prefix}.mlp.fc2", width, 4 * width
        )
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{prefix}.{norm}.weight": (width,), f"{prefix}.{norm}.bias": (width,)}
    shapes |= {f"{top}.post_layernorm.weight": (width,), f"{top}.post_layernorm.bias": (width,)}
    shapes["visual_projection.weight"] = (width * 3 // 4, width)
    return Model(name, shapes, torch.float32)


def llama(name: str, *, width: int, layers: int, inner: int, vocabulary: int, shard_bytes: int) -> Model:
    """Return a Llama-like language model, bfloat16, sharded, in Hugging Face layout."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{prefix}.self_attn.{part}.weight"] = (width, width)
        shapes[f"{prefix}.mlp.gate_proj.weight"] = (inner, width)
        shapes[f"{prefix}.mlp.up_proj.weight"] = (inner, width)
        shapes[f"{prefix}.mlp.down_proj.weight"] = (width, inner)
        shapes[f"{prefix}.input_layernorm.weight"] = (width,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (width,)
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "num_hidden_layers": layers,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    return Model(name, shapes, torch.bfloat16, shard_bytes, config)


def make(model: Model, contributions: int, cache: Path) -> list[Path]:
    """Return the base and its contributions, making those that are not there.

    Args:
        model: What they look like.
        contributions: How many contributions.
        cache: Folder for all models.

    Returns:
        The base, then the contributions: files for a model of plain files, else folders.

    Raises:
        OSError: There is not enough room.
    """
    folders = [cache / model.name / _title(index) for index in range(contributions + 1)]
    absent = [index for index, folder in enumerate(folders) if not (folder / DONE).exists()]
    room_for(len(absent) * model.nbytes, cache)
    for index in absent:
        _write(model, index, folders[index])
    return [folder / "model.safetensors" if model.shard_bytes is None else folder for folder in folders]


def room_for(size: int, folder: Path) -> None:
    """Check that `size` bytes fit below `folder`.

    Raises:
        OSError: They do not; names the folder and both sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size * ROOM:
        raise OSError(f"{folder}: {free / 1e9:.1f} GB free, {size * ROOM / 1e9:.1f} GB needed")


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _title(index: int) -> str:
    return f"contribution-{index}" if index else "base"


def _write(model: Model, index: int, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shards = list(_shards(model))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = (
            "model.safetensors"
            if model.shard_bytes is None
            else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        save_file(dict(_tensors(model, index, names)), folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if model.shard_bytes is not None:
        content = {"metadata": {"total_size": model.nbytes}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    if model.config is not None:
        (folder / "config.json").write_text(json.dumps(model.config), encoding="utf-8")
    (folder / DONE).touch()


def _shards(model: Model) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in model.shapes.items():
        more = math.prod(shape) * model.dtype.itemsize
        if names and model.shard_bytes is not None and size + more > model.shard_bytes:
            yield names
            names, size = [], 0
        names.append(name)
        size += more
    yield names


def _tensors(model: Model, index: int, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    places = {name: place for place, name in enumerate(model.shapes)}
    for name in names:
        values = _normal(0, places[name], model.shapes[name]) * WEIGHT_SCALE
        if index:
            values += _normal(index, places[name], model.shapes[name]) * UPDATE_SCALE
        yield name, torch.from_numpy(values).to(model.dtype)


def _normal(index: int, place: int, shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng([index, place]).standard_normal(tuple(shape), dtype=np.float32)
