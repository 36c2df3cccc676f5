"""LoRA and rsLoRA adapters of PEFT as contributions: the base plus a delta, formed one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from mergeward.checkpoint.adapter_config import ADAPTER_CONFIG, AdapterConfig, read_adapter_config
from mergeward.checkpoint.digests import digest_of, file_sha256
from mergeward.checkpoint.files import contained, exists
from mergeward.checkpoint.header import open_safetensors
from mergeward.checkpoint.hub import local_path
from mergeward.checkpoint.reader import INDEX, WEIGHTS, Checkpoint, open_checkpoint
from mergeward.checkpoint.source import TensorInfo, TensorSource, finite
from mergeward.errors import CheckpointError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_NAMED = {
    "lora_magnitude_vector": "DoRA is not supported",
    "lora_embedding_": "LoRA of embeddings is not supported",
    "lora_": "expected lora_A.weight and lora_B.weight",
}


@dataclass(frozen=True)
class Factors:
    """A delta of low rank.

    Attributes:
        a: float32 `[r, in]`.
        b: float32 `[out, r]`.
        scaling: `lora_alpha / r`, or `lora_alpha / sqrt(r)` for rsLoRA.
        turned: Whether the base's tensor is `[in, out]` (`fan_in_fan_out`), and so is the delta.
    """

    a: Tensor
    b: Tensor
    scaling: float
    turned: bool

    def delta(self) -> Tensor:
        """Return `scaling * B @ A`, float32, in the shape of the base's tensor."""
        delta = (self.b @ self.a).mul_(self.scaling)
        return delta.T if self.turned else delta


class Adapter:
    """An adapter seen as the fine-tune it makes of a base; made by `open_contribution`.

    Args:
        folder: The adapter's folder.
        base: The base.

    Attributes:
        path: The adapter's folder.
        base: The base.
        tensors: Every tensor of the base; those with a delta are float32.
        adapted: Names of the tensors with a delta of low rank, in the base's order.
        replaced: Names of the tensors that the adapter holds whole (`modules_to_save`, biases).
        metadata: The free-text entries of the weights file's header.
        config: The base's configuration.

    Raises:
        CheckpointError: The adapter is missing, malformed, hostile, of a kind that is not supported, or none
            for this base.
    """

    def __init__(self, folder: Path, base: TensorSource) -> None:
        self.path = folder
        self.base = base
        self.config = base.config
        self._settings = read_adapter_config(folder)
        weights = contained(folder, ADAPTER_WEIGHTS)
        self._weights = Checkpoint(weights, folder=None, files=[open_safetensors(weights)])
        self.metadata = self._weights.metadata
        modules, self._whole = _sorted_keys(self._weights, base)
        _check_factors(self._weights, base, modules, self._settings)
        _check_whole(self._weights, base, modules, self._whole, self._settings)
        self._modules = {f"{module}.weight": module for module in modules}
        self.adapted = tuple(name for name in base.tensors if name in self._modules)
        self.replaced = tuple(name for name in base.tensors if name in self._whole)
        self.tensors: Mapping[str, TensorInfo] = {
            name: self._info(name, info) for name, info in base.tensors.items()
        }

    @property
    def name(self) -> str:
        """Its path, as errors call it."""
        return str(self.path)

    def factors(self, name: str) -> Factors:
        """Return the factors of a tensor's delta, for methods that work on them.

        Args:
            name: One of `adapted`.

        Raises:
            CheckpointError: It has no such delta, or a factor holds NaN or infinity.
        """
        if name not in self._modules:
            raise CheckpointError(f"{self.path}: tensor {name!r} has no delta of low rank")
        module = self._modules[name]
        a, b = (self._weights.read(f"{PREFIX}{module}{factor}").float() for factor in (_A, _B))
        return Factors(a, b, self._settings.scaling_of(module), self._settings.turned)

    def view(self, name: str) -> Tensor:
        """Return one tensor of the fine-tune, unchecked but for the factors.

        Returns:
            Base plus delta in float32 where there is a delta; else the adapter's own tensor or the base's,
            as stored. It may share memory with a file.

        Raises:
            CheckpointError: There is none of that name, or it cannot be read.
        """
        if name in self._modules:
            return self.factors(name).delta() + self.base.view(name).float()
        if name in self._whole:
            return self._weights.view(self._whole[name])
        return self.base.view(name)

    def read(self, name: str) -> Tensor:
        """Return one tensor of the fine-tune, checked to be finite; otherwise as `view`.

        Raises:
            CheckpointError: As by `view`, or it holds NaN or infinity.
        """
        return finite(self.view(name), name=name, where=self.path)

    @property
    def hashed_files(self) -> tuple[Path, ...]:
        """The files that decide it: weights and settings."""
        return (*self._weights.hashed_files, self.path / ADAPTER_CONFIG)

    def sha256(self) -> dict[str, str]:
        """Return the SHA-256 of weights and settings as hexadecimal digits, by file name."""
        return {path.name: file_sha256(path) for path in self.hashed_files}

    def digest(self) -> str:
        """Return one SHA-256 for weights and settings, both of which decide what the adapter makes."""
        return digest_of(self.sha256())

    def close(self) -> None:
        """Let go of the adapter's file, and not of the base."""
        self._weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _info(self, name: str, info: TensorInfo) -> TensorInfo:
        if name in self._modules:
            return TensorInfo(info.shape, torch.float32, ADAPTER_WEIGHTS, 4 * info.numel)
        return self._weights.tensors[self._whole[name]] if name in self._whole else info


def open_contribution(path: str | Path, base: TensorSource) -> Checkpoint | Adapter:
    """Open a fine-tune of a base: a whole model, or an adapter.

    Args:
        path: A folder of PEFT (`adapter_config.json`, `adapter_model.safetensors`), or what `open_checkpoint`
            takes.
        base: The base, which an adapter reads from; it must stay open.

    Raises:
        CheckpointError: It is missing, malformed or hostile; or an adapter of a kind that is not supported,
            or for another base.

    Example:
        >>> with open_checkpoint("base") as base:  # doctest: +SKIP
        ...     with open_contribution("lora", base) as contribution:
        ...         contribution.read("vision_model.encoder.layers.0.self_attn.q_proj.weight")
    """
    found = local_path(path)
    if not is_adapter(found):
        return open_checkpoint(found)
    if whole := [name for name in (WEIGHTS, INDEX) if exists(found / name)]:
        raise CheckpointError(f"{found}: holds an adapter and {whole[0]} too; which of the two is meant?")
    return Adapter(found, base)


def is_adapter(path: Path) -> bool:
    """Return whether a path is the folder of an adapter."""
    return path.is_dir() and exists(path / ADAPTER_CONFIG)


def _sorted_keys(weights: Checkpoint, base: TensorSource) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the modules that have factors, and the key of each tensor that is held whole."""
    modules: dict[str, None] = {}
    whole: dict[str, str] = {}
    for key in weights.tensors:
        name = key.removeprefix(PREFIX)
        if name == key:
            raise CheckpointError(f"{weights.path}: tensor {key!r}: expected a name under {PREFIX!r}")
        if name.endswith((_A, _B)):
            modules[name.removesuffix(_A).removesuffix(_B)] = None
            continue
        if reason := next((reason for part, reason in _NAMED.items() if part in name), None):
            raise CheckpointError(f"{weights.path}: tensor {key!r}: {reason}")
        target = name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
        if target not in base.tensors or target in whole:
            problem = "two tensors" if target in whole else "no tensor"
            raise CheckpointError(f"{weights.path}: tensor {key!r}: {problem} {target!r} in {base.name}")
        whole[target] = key
    if not modules and not whole:
        raise CheckpointError(f"{weights.path}: no tensor in it")
    return tuple(modules), whole


def _check_factors(
    weights: Checkpoint, base: TensorSource, modules: tuple[str, ...], settings: AdapterConfig
) -> None:
    for module in modules:
        where, target = f"{weights.path}: module {module!r}", base.tensors.get(f"{module}.weight")
        pair = [weights.tensors.get(f"{PREFIX}{module}{factor}") for factor in (_A, _B)]
        if target is None:
            raise CheckpointError(f"{where}: no tensor '{module}.weight' in {base.name}")
        a, b = pair
        if a is None or b is None:
            raise CheckpointError(f"{where}: only one of lora_A and lora_B")
        if not all(info.dtype.is_floating_point and len(info.shape) == 2 for info in (a, b, target)):
            shapes = ", ".join(str(list(info.shape)) for info in (a, b, target))
            raise CheckpointError(f"{where}: only matrices are supported; lora_A, lora_B, base: {shapes}")
        rank = settings.rank_of(module)
        if (a.shape[0], b.shape[1]) != (rank, rank):
            raise CheckpointError(
                f"{where}: factors of rank {a.shape[0]} and {b.shape[1]}; {ADAPTER_CONFIG} says {rank}"
            )
        made = (a.shape[1], b.shape[0]) if settings.turned else (b.shape[0], a.shape[1])
        if made != target.shape:
            raise CheckpointError(f"{where}: a delta of shape {list(made)}, the base's {list(target.shape)}")


def _check_whole(
    weights: Checkpoint,
    base: TensorSource,
    modules: tuple[str, ...],
    whole: Mapping[str, str],
    settings: AdapterConfig,
) -> None:
    for name, key in whole.items():
        found, expected = weights.tensors[key], base.tensors[name]
        if found.shape != expected.shape or found.dtype.is_floating_point != expected.dtype.is_floating_point:
            raise CheckpointError(
                f"{weights.path}: tensor {key!r} is {found.dtype} {list(found.shape)}, the base's "
                f"{expected.dtype} {list(expected.shape)}"
            )
        if name.removesuffix(".weight") in modules:
            raise CheckpointError(f"{weights.path}: tensor {key!r} is held whole, and has factors too")
    for module in settings.modules_to_save:
        if not any(f".{module}." in f".{name}" for name in whole):
            raise CheckpointError(f"{weights.path}: no tensor of {module!r}, which modules_to_save names")
    biases = {
        "none": [],
        "lora_only": [f"{module}.bias" for module in modules],
        "all": [name for name in base.tensors if name.endswith(".bias")],
    }[settings.bias]
    if missing := [name for name in biases if name in base.tensors and name not in whole]:
        raise CheckpointError(
            f"{weights.path}: no tensor {missing[0]!r}, which bias '{settings.bias}' promises"
        )
