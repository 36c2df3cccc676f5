"""What is in a model file, and how far it lies from its base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergeward.checkpoint import (
    PICKLE_SUFFIXES,
    Adapter,
    Checkpoint,
    LegacyCheckpoint,
    carries_mark,
    check_compatible,
    is_adapter,
    local_path,
    open_checkpoint,
    open_contribution,
    open_legacy,
    resolve_scope,
)
from mergeward.errors import UsageError
from mergeward.merge.vectors import layer_of, vector_sums
from mergeward.provenance import METADATA_KEY, Provenance
from mergeward.workflow.masks import MaskLayer, has_masks, mask_layers, open_masks
from mergeward.workflow.opened import open_base_file

Opened = Checkpoint | Adapter | LegacyCheckpoint


@dataclass(frozen=True)
class TensorEntry:
    """One tensor.

    Attributes:
        name: Its name.
        dtype: Its type as stored ("float32", ...).
        shape: Its size along each dimension.
        nbytes: Its size in bytes.
        file: Name of the file that holds it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: str


@dataclass(frozen=True)
class LayerEntry:
    """The task vector (model minus base) within one layer.

    Attributes:
        layer: Name of the layer: a tensor's name up to its first number, else up to its last dot.
        values: How many values it has.
        norm: Euclidean length of the task vector within it.
        rms: Root of the mean square of its changes, `norm / sqrt(values)`: comparable between layers.
        share: Its part of the squared length of the whole task vector, between 0 and 1.
    """

    layer: str
    values: int
    norm: float
    rms: float
    share: float


@dataclass(frozen=True)
class Distance:
    """How far a model lies from its base.

    Attributes:
        base: Path of the base.
        norm: Euclidean length of the task vector over all floating tensors that both have.
        layers: The same by layer, in file order.
        missing: Floating tensors of the base that the model has not.
    """

    base: str
    norm: float
    layers: tuple[LayerEntry, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What is in a model file.

    Attributes:
        model: Its path.
        kind: "checkpoint" (safetensors), "adapter" (LoRA; its tensors are those of the fine-tune it makes of
            the base), or "pickle" (a file of `torch.save`, read without running it).
        model_type: The architecture by `config.json`; None where that says nothing.
        sha256: SHA-256 of each file, by name.
        tensors: Every tensor, in file order.
        nbytes: Size of all tensors together.
        metadata: Free-text entries of the file's header, without the provenance record.
        provenance: The record of how it was made; None where there is none, or a malformed one.
        backdoor: Whether it says of itself that it carries a backdoor, in that record or on its card.
        distance: How far it lies from its base; None without one.
        masks: What the learnt masks beside it keep of each layer; empty where there are none.
    """

    model: str
    kind: str
    model_type: str | None
    sha256: Mapping[str, str]
    tensors: tuple[TensorEntry, ...]
    nbytes: int
    metadata: Mapping[str, str]
    provenance: Provenance | None
    backdoor: bool
    distance: Distance | None
    masks: tuple[MaskLayer, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields with plain values, under the names above."""
        return {
            "model": self.model,
            "kind": self.kind,
            "model_type": self.model_type,
            "sha256": dict(self.sha256),
            "nbytes": self.nbytes,
            "metadata": dict(self.metadata),
            "provenance": None if self.provenance is None else self.provenance.model_dump(mode="json"),
            "backdoor": self.backdoor,
            "distance": None if self.distance is None else asdict(self.distance),
            "masks": [asdict(layer) for layer in self.masks],
            "tensors": [asdict(tensor) for tensor in self.tensors],
        }


def inspect(model: str | Path, base: str | Path | None = None) -> Inspection:
    """Say what is in a model file; with its base, also where the two differ.

    Without a base no tensor of the model is read.

    Args:
        model: Folder in Hugging Face layout, `.safetensors` file, hub id, folder of a LoRA adapter (which
            needs the base), or a file of `torch.save`.
        base: Its base: `embedded`, a folder in Hugging Face layout, a `.safetensors` file, or a hub id.

    Raises:
        CheckpointError: A file is missing, malformed or hostile, or the model is no fine-tune of the base.
        UsageError: An adapter was given without a base.

    Example:
        >>> inspect("contribution", base="base").distance.norm  # doctest: +SKIP
        3.25
    """
    with ExitStack() as stack:
        origin = None if base is None else stack.enter_context(open_base_file(base))
        with _opened(local_path(model), origin) as opened:
            return _inspected(str(model), opened, origin)


def _inspected(model: str, opened: Opened, base: Checkpoint | None) -> Inspection:
    model_type = (opened.config or {}).get("model_type")
    return Inspection(
        model=model,
        kind={Checkpoint: "checkpoint", Adapter: "adapter", LegacyCheckpoint: "pickle"}[type(opened)],
        model_type=model_type if isinstance(model_type, str) else None,
        sha256=opened.sha256(),
        tensors=tuple(
            TensorEntry(name, str(info.dtype).removeprefix("torch."), info.shape, info.nbytes, info.file)
            for name, info in opened.tensors.items()
        ),
        nbytes=sum(info.nbytes for info in opened.tensors.values()),
        metadata={key: value for key, value in opened.metadata.items() if key != METADATA_KEY},
        provenance=Provenance.from_metadata(opened.metadata),
        backdoor=carries_mark(opened),
        distance=None if base is None else _distance(base, opened),
        masks=_masks(opened.folder) if isinstance(opened, Checkpoint) else (),
    )


def _masks(folder: Path | None) -> tuple[MaskLayer, ...]:
    if folder is None or not has_masks(folder):
        return ()
    with open_masks(folder) as masks:
        return mask_layers(masks)


def _opened(path: Path, base: Checkpoint | None) -> Opened:
    if not path.is_dir() and path.suffix.lower() in PICKLE_SUFFIXES:
        return open_legacy(path)
    if base is not None:
        return open_contribution(path, base)
    if is_adapter(path):
        raise UsageError(f"{path}: an adapter, whose tensors exist only on its base; give --base")
    return open_checkpoint(path)


def _distance(base: Checkpoint, model: Opened) -> Distance:
    floats = resolve_scope("all", base)
    shared = [name for name in floats if name in model.tensors]
    check_compatible(base, [model], list(dict.fromkeys([*resolve_scope("auto", base), *shared])))
    sums = vector_sums(base, [model], shared)
    return Distance(
        base=base.name,
        norm=float(sums.norms[0]),
        layers=_layers(sums.layers, sums.layer_norms[:, 0].tolist(), _sizes(base, shared)),
        missing=tuple(name for name in floats if name not in model.tensors),
    )


def _sizes(base: Checkpoint, names: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name in names:
        sizes[layer_of(name)] = sizes.get(layer_of(name), 0) + base.tensors[name].numel
    return sizes


def _layers(names: Sequence[str], norms: Sequence[float], sizes: Mapping[str, int]) -> tuple[LayerEntry, ...]:
    total = math.fsum(norm * norm for norm in norms)
    return tuple(
        LayerEntry(
            layer=name,
            values=sizes[name],
            norm=norm,
            rms=norm / math.sqrt(sizes[name]) if sizes[name] else 0.0,
            share=norm * norm / total if total else 0.0,
        )
        for name, norm in zip(names, norms, strict=True)
    )
