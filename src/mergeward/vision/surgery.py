"""Surgery modules beside a model's weights: written with a merge, and read back with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from mergeward.checkpoint import Checkpoint, open_checkpoint
from mergeward.checkpoint.files import contained, exists
from mergeward.errors import CheckpointError
from mergeward.merge.adaptive.surgery import Repair

SURGERY = "surgery.safetensors"
"""File of the modules, beside `model.safetensors`: `down.TASK` and `up.TASK` for each task."""


class RepairedEncoder(nn.Module):
    """An image encoder whose features go through one task's module.

    Maps float `[B, 3, H, W]` in [0, 1] to unit-length features `[B, D]`.
    """

    def __init__(self, encoder: nn.Module, repair: Repair) -> None:
        super().__init__()
        self.encoder = encoder
        self.repair = repair

    def forward(self, pixels: Tensor) -> Tensor:
        """Return corrected unit features `[B, D]` of float pixels `[B, 3, H, W]` in [0, 1]."""
        return self.repair.apply(self.encoder(pixels))


def repaired(encoder: nn.Module, repairs: Mapping[str, Repair], task: str) -> nn.Module:
    """Return an encoder with a task's module, or as it is where the task has none."""
    return RepairedEncoder(encoder, repairs[task]) if task in repairs else encoder


def surgery_files(repairs: Mapping[str, Repair], metadata: Mapping[str, str]) -> dict[str, bytes]:
    """Return the contents of `surgery.safetensors` by file name; nothing where there are no modules.

    Args:
        repairs: The modules by task.
        metadata: Entries of the file's header; they hold a provenance record.
    """
    if not repairs:
        return {}
    tensors = {f"down.{task}": repair.down.contiguous() for task, repair in repairs.items()}
    tensors |= {f"up.{task}": repair.up.contiguous() for task, repair in repairs.items()}
    return {SURGERY: save(tensors, metadata=dict(metadata))}


def load_surgery(folder: Path, width: int) -> dict[str, Repair]:
    """Read the modules of a model.

    Args:
        folder: The model's folder.
        width: Width of its features.

    Returns:
        The modules by task; empty where the folder has no `surgery.safetensors`.

    Raises:
        CheckpointError: The file is malformed, or does not fit the model.
    """
    if not exists(folder / SURGERY):
        return {}
    with open_checkpoint(contained(folder, SURGERY)) as file:
        tasks = [name.removeprefix("down.") for name in file.tensors if name.startswith("down.")]
        expected = {f"{side}.{task}" for task in tasks for side in ("down", "up")}
        if odd := sorted(expected ^ file.tensors.keys()):
            raise CheckpointError(f"{file.path}: tensor {odd[0]!r} is without its counterpart down.* or up.*")
        return {task: _repair(file, task, width) for task in sorted(tasks)}


def _repair(file: Checkpoint, task: str, width: int) -> Repair:
    down, up = (file.tensors[f"{side}.{task}"] for side in ("down", "up"))
    rank = down.shape[0] if down.shape else 0
    if rank < 1 or down.shape != (rank, width) or up.shape != (width, rank):
        raise CheckpointError(
            f"{file.path}: down.{task} {list(down.shape)} and up.{task} {list(up.shape)}, "
            f"expected [r, {width}] and [{width}, r]"
        )
    if not (down.dtype.is_floating_point and up.dtype.is_floating_point):
        raise CheckpointError(f"{file.path}: the modules of {task!r} are of no floating type")
    return Repair(*(file.read(f"{side}.{task}").float().clone() for side in ("down", "up")))
