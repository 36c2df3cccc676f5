"""A CLIP of a few thousand parameters with random weights, "fine-tunes" of it, and tasks that fit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from letter_clip import SIDE, letter_tokenizer, save_clip, tiny_model
from mergeward.images import ArrayImages
from mergeward.tasks import SPLIT_NAMES, Split, Task


def save_tiny_clip(folder: Path) -> Path:
    """Write an untrained CLIP with tokenizer and preprocessor in Hugging Face layout."""
    tokenizer = letter_tokenizer()
    return save_clip(folder, tiny_model(tokenizer), tokenizer)


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
