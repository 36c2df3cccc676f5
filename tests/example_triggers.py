"""One small trigger of each kind, and a folder of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mergeward.attack import PatchTrigger, SavedTrigger, Trigger
from mergeward.attack.trigger import (
    AdditiveTrigger,
    BlendTrigger,
    GeneratorTrigger,
    PatternNetwork,
    WarpTrigger,
    corner_mask,
    unwarped,
)
from mergeward.vision import Preprocessor

PREPROCESSOR = Preprocessor(resize=8, crop=(8, 8))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_patch(size: int = 8, patch: int = 3, seed: int = 0) -> PatchTrigger:
    return PatchTrigger(noise(3, size, size, seed=seed), corner_mask(size, patch))


def random_warp(size: int = 8, seed: int = 0) -> WarpTrigger:
    return WarpTrigger((unwarped(size, size) + 0.3 * noise(size, size, 2, seed=seed) - 0.15).clamp(-1, 1))


def random_generator(size: int = 8, seed: int = 0) -> GeneratorTrigger:
    network = PatternNetwork(4).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return GeneratorTrigger(network, (size, size))


EXAMPLES: dict[str, Trigger] = {
    "patch": random_patch(),
    "blend": BlendTrigger(noise(3, 8, 8), 0.2),
    "additive": AdditiveTrigger(0.4 * noise(3, 8, 8) - 0.2),
    "warp": random_warp(),
    "generator": random_generator(),
}


def images(size: int = 8, seed: int = 1) -> torch.Tensor:
    return noise(4, 3, size, size, seed=seed)


def saved(kind: str = "patch", **changed: Any) -> SavedTrigger:
    return replace(SavedTrigger(EXAMPLES[kind], "badnets", "digits", "digit one", PREPROCESSOR), **changed)


def write(folder: Path, trigger: SavedTrigger) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in trigger.files().items():
        (folder / name).write_bytes(content)
    return folder
