"""Learnt masks beside a model's weights: written with a merge, looked at, and used again by another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from mergeward.checkpoint import Checkpoint, open_checkpoint
from mergeward.checkpoint.files import contained, exists
from mergeward.errors import CheckpointError
from mergeward.merge.adaptive.problem import check_same_tensors
from mergeward.merge.vectors import layer_of

MASKS = "masks.safetensors"
"""File of the masks, beside `model.safetensors`: float32 logits `MASK/TENSOR` for each mask and tensor."""


@dataclass(frozen=True)
class MaskLayer:
    """What one mask keeps of one layer.

    Attributes:
        mask: Name of the mask.
        layer: Name of the layer, as in `workflow.inspect.LayerEntry`.
        values: How many weights the layer has.
        kept: Mean probability to be kept, between 0 and 1.
        favoured: Share of the weights that are kept with a probability above one half.
    """

    mask: str
    layer: str
    values: int
    kept: float
    favoured: float


def mask_files(masks: Mapping[str, Mapping[str, Tensor]], metadata: Mapping[str, str]) -> dict[str, bytes]:
    """Return the contents of `masks.safetensors` by file name; nothing where there are no masks.

    Args:
        masks: Logits by mask and tensor.
        metadata: Entries of the file's header; they hold a provenance record.
    """
    if not masks:
        return {}
    tensors = {f"{mask}/{name}": value for mask, own in masks.items() for name, value in own.items()}
    return {MASKS: save(tensors, metadata=dict(metadata))}


def open_masks(path: str | Path) -> Checkpoint:
    """Open saved masks: `masks.safetensors`, or the folder of a model that has it.

    Raises:
        CheckpointError: There is no such file, or it is malformed or holds something else.
    """
    path = Path(path)
    opened = open_checkpoint(contained(path, MASKS) if path.is_dir() else path)
    odd = next((name for name in opened.tensors if not all(name.partition("/"))), None)
    if odd is not None or not opened.tensors:
        opened.close()
        found = "no tensor" if odd is None else f"tensor {odd!r}"
        raise CheckpointError(f"{opened.path}: no saved masks (expected tensors MASK/TENSOR, found {found})")
    return opened


def has_masks(folder: Path) -> bool:
    """Return whether a model's folder has saved masks."""
    return exists(folder / MASKS)


def check_masks(masks: Checkpoint, names: Collection[str], base: Checkpoint, scope: Sequence[str]) -> None:
    """Check by names and shapes that masks are for the tensors of a merge; none is read.

    Args:
        masks: Saved masks, open.
        names: The masks that the merge has.
        base: The base.
        scope: Names of the tensors that take part.

    Raises:
        CheckpointError: They are not.
    """
    saved = _by_mask(masks)
    if set(saved) != set(names):
        raise CheckpointError(
            f"{masks.path}: has the masks {', '.join(sorted(saved))}, expected {', '.join(sorted(names))}"
        )
    expected = {name: base.tensors[name] for name in scope}
    for mask, own in saved.items():
        found = {name: masks.tensors[f"{mask}/{name}"] for name in own}
        check_same_tensors(f"{masks.path}: mask {mask!r}", found, expected)


def read_masks(masks: Checkpoint) -> dict[str, dict[str, Tensor]]:
    """Return the logits by mask and tensor, float32.

    Raises:
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.
    """
    return {
        mask: {name: masks.read(f"{mask}/{name}").float() for name in names}
        for mask, names in _by_mask(masks).items()
    }


def mask_layers(masks: Checkpoint) -> tuple[MaskLayer, ...]:
    """Return what each mask keeps of each layer, in file order; one tensor is read at a time."""
    sums: dict[tuple[str, str], Tensor] = {}
    for name, info in masks.tensors.items():
        mask, _, tensor = name.partition("/")
        kept = masks.read(name).double().sigmoid()
        counts = torch.tensor([info.numel, kept.sum(), (kept > 0.5).sum()], dtype=torch.float64)
        place = (mask, layer_of(tensor))
        sums[place] = sums[place] + counts if place in sums else counts
    return tuple(
        MaskLayer(mask, layer, int(values), kept / max(values, 1), favoured / max(values, 1))
        for (mask, layer), counts in sums.items()
        for values, kept, favoured in [counts.tolist()]
    )


def _by_mask(masks: Checkpoint) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in masks.tensors:
        mask, _, tensor = name.partition("/")
        names.setdefault(mask, []).append(tensor)
    return names
