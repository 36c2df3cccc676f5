"""The small checkpoints of the parity run: every kind of tensor on which tools are known to differ."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.tools import Inputs

WEIGHT_SCALE = 0.02
UPDATE_SCALE = 0.002

UPDATES = {
    "token_embedding.weight": ((200, 64), 1.0),
    "layers.0.attention.weight": ((64, 64), 1.0),
    "layers.0.attention.bias": ((64,), 1.0),
    "layers.0.mlp.weight": ((256, 64), 1.0),
    "layers.0.norm.weight": ((64,), 0.3),
    "layers.1.attention.weight": ((64, 64), 10.0),  # a global trim keeps nearly all of it
    "layers.1.mlp.weight": ((64, 256), 0.1),  # and nearly nothing of this
    "convolution.weight": ((16, 3, 4, 4), 1.0),
    "frozen.weight": ((32, 64), 0.0),  # never trained: counts in a global trim, and has no norm
    "logit_scale": ((1,), 1.0),
}
"""Shape of each floating tensor, and its update's scale relative to `UPDATE_SCALE`."""

BUFFER = "position_ids"


def make(folder: Path, contributions: int, without: Collection[str] = ()) -> Inputs:
    """Write a base and its contributions as plain files, but for the tensors in `without`; return them."""
    names = ["base", *(f"contribution-{index + 1}" for index in range(contributions))]
    paths = [folder / f"{name}.safetensors" for name in names]
    for index, path in enumerate(paths):
        save_file({name: tensor for name, tensor in tensors(index).items() if name not in without}, path)
    return Inputs(paths[0], paths[1:])


def tensors(index: int) -> dict[str, Tensor]:
    """Return the tensors of the base (0) or of a contribution."""
    made = {}
    for place, (name, (shape, scale)) in enumerate(UPDATES.items()):
        values = _normal(0, place, shape) * WEIGHT_SCALE
        if index and scale:
            values += _normal(index, place, shape) * (UPDATE_SCALE * scale)
        made[name] = torch.from_numpy(values)
    return {**made, BUFFER: torch.arange(77)}


def _normal(index: int, place: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([index, place]).standard_normal(shape, dtype=np.float32)
