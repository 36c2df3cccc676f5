"""A CLIP of a few thousand parameters with random weights, as files, and tasks that fit it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from mergeward.images import ArrayImages
from mergeward.tasks import SPLIT_NAMES, Split, Task
from mergeward.testbed.tokenizer import train_tokenizer
from mergeward.vision import Preprocessor

SIDE = 16
TOWER = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write an untrained CLIP with tokenizer and preprocessor in Hugging Face layout."""
    tokenizer = train_tokenizer(["a photo of a red square"], merges=4, context_length=12)
    config = CLIPConfig(
        projection_dim=8,
        vision_config={**TOWER, "image_size": SIDE, "patch_size": 8, "projection_dim": 8},
        text_config={
            **TOWER,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": tokenizer.model_max_length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": 8,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = Preprocessor(resize=SIDE, crop=(SIDE, SIDE))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor.to_config()))
    return folder


def save_tuned(
    base: Path,
    folder: Path,
    *,
    seed: int,
    size: float = 0.01,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a "fine-tune" of a base: its vision tower with noise of a given size added."""
    generator = torch.Generator().manual_seed(seed)
    state = load_file(base / "model.safetensors")
    for name, value in state.items():
        if name.startswith(("vision_model.", "visual_projection.")) and value.is_floating_point():
            state[name] = value + size * torch.randn(value.shape, generator=generator)
    folder.mkdir(parents=True)
    for file in base.iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    save_file(state, folder / "model.safetensors", metadata={"format": "pt", **(metadata or {})})
    return folder


def tiny_task(name: str = "tints", *, images: int = 6, seed: int = 0) -> Task:
    """A task of noise images in two classes, the same number in every split."""
    generator = np.random.default_rng(seed)
    splits = {}
    for split in SPLIT_NAMES:
        pixels = generator.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
        labels = np.arange(images, dtype=np.int64) % 2
        splits[split] = Split(ArrayImages(pixels), labels)
    return Task(name, ("red square", "blue circle"), splits)
