"""Checkpoints of `torch.save`, whole pickled modules among them, read without importing what they name."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor

from mergeward.checkpoint.archive import Place, is_zip, open_archive
from mergeward.checkpoint.digests import digest_of, file_sha256
from mergeward.checkpoint.files import first_bytes, regular_file
from mergeward.checkpoint.source import TensorInfo, finite
from mergeward.checkpoint.unpickle import MAX_PICKLE_BYTES, Inert, Machine, MalformedPickleError
from mergeward.checkpoint.vocabulary import Storages, StoredTensor, resolver
from mergeward.errors import CheckpointError

MAX_TENSORS = 100_000
MAX_DEPTH = 100
MAX_COPIES = 4
"""Tensors may share storages, as tied weights do; together they hold at most so many times the file."""

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Entries under which training scripts keep the weights among other things."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class LegacyCheckpoint:
    """A checkpoint of `torch.save`; made by `open_legacy`.

    Attributes:
        path: The file.
        tensors: Every tensor by name, in the order of the module or state dict.
        config: None: such files hold none.
        metadata: Empty, likewise.
        classes: Names of the classes of a pickled module and all its parts; empty for a state dict.
        left_out: Entries beside the weights (an optimiser's state, ...), which are not read.
    """

    config = None
    metadata: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path, weights: _Weights, places: Mapping[str, Place]) -> None:
        self.path = path
        self.classes = frozenset(weights.classes)
        self.left_out = tuple(weights.left_out)
        self._tensors = weights.tensors
        self._places = places
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(
                tensor.shape,
                tensor.storage.dtype,
                path.name,
                math.prod(tensor.shape) * tensor.storage.dtype.itemsize,
            )
            for name, tensor in weights.tensors.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing: the file is opened for each tensor anew."""

    @property
    def name(self) -> str:
        """Its path, as errors call it."""
        return str(self.path)

    def view(self, name: str) -> Tensor:
        """Return one tensor, unchecked, in memory of its own.

        Raises:
            CheckpointError: There is none of that name, or the file was cut short.
        """
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: no tensor {name!r}")
        tensor = self._tensors[name]
        dtype = tensor.storage.dtype
        if tensor.extent == 0:
            return torch.empty(tensor.shape, dtype=dtype)
        buffer = bytearray(tensor.extent * dtype.itemsize)
        try:
            with self.path.open("rb") as file:
                file.seek(self._places[tensor.storage.key].start + tensor.offset * dtype.itemsize)
                if file.readinto(buffer) != len(buffer):
                    raise CheckpointError(f"{self.path}: tensor {name!r} is cut short")
        except OSError as error:
            raise CheckpointError(f"{self.path}: {error.strerror or error}") from error
        return torch.frombuffer(buffer, dtype=dtype).as_strided(tensor.shape, tensor.stride)

    def read(self, name: str) -> Tensor:
        """Return one tensor, checked to be finite; otherwise as `view`.

        Raises:
            CheckpointError: As by `view`, or it holds NaN or infinity.
        """
        return finite(self.view(name), name=name, where=self.path)

    def sha256(self) -> dict[str, str]:
        """Return the SHA-256 of the file as hexadecimal digits, by its name."""
        return {self.path.name: file_sha256(self.path)}

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return digest_of(self.sha256())


def open_legacy(path: str | Path) -> LegacyCheckpoint:
    """Open a checkpoint of `torch.save` without running anything in it; no tensor is read.

    A state dict, a training checkpoint that holds one, or a whole module, of which the parameters and the
    persistent buffers are found under the names that its state dict would give them. Both formats of
    `torch.save` are read: the zip of torch 1.6 and later, and the older sequence of pickles.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is missing, malformed or hostile: among other things, it names a class or function
            that checkpoints do not need.

    Example:
        >>> checkpoint = open_legacy("finetuned.pt")  # doctest: +SKIP
        >>> checkpoint.tensors["model.visual.proj"].shape  # doctest: +SKIP
        (768, 512)
    """
    path = regular_file(Path(path), expected="a file of torch.save", pickles=True)
    storages = Storages()
    machine = Machine(resolver(path), storages)
    try:
        if is_zip(path):
            archive = open_archive(path)
            root, places = machine.run(BytesIO(archive.pickle)), archive.places
        else:
            root, places = _old_format(path, machine, storages)
        weights = _weights(root)
        _check(weights.tensors.values(), places, path.stat().st_size)
    except MalformedPickleError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: no checkpoint of torch.save that can be read ({reason})") from error
    return LegacyCheckpoint(path, weights, places)


def _old_format(path: Path, machine: Machine, storages: Storages) -> tuple[Any, dict[str, Place]]:
    """Follow the five pickles that come before the storages: magic number, version, machine, object, keys."""
    stream = BytesIO(first_bytes(path, MAX_PICKLE_BYTES))
    if machine.run(stream) != _MAGIC or machine.run(stream) != _PROTOCOL:
        raise MalformedPickleError("it does not begin as one")
    if not _little_endian(machine.run(stream)):
        raise MalformedPickleError("the bytes of its numbers are not in little-endian order")
    root, keys = machine.run(stream), machine.run(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise MalformedPickleError("no list of its storages")
    return root, _places(path, stream.tell(), keys, storages)


def _little_endian(system: Any) -> bool:
    return isinstance(system, dict) and system.get("little_endian") is True


def _places(path: Path, start: int, keys: list[str], storages: Storages) -> dict[str, Place]:
    """Return where each storage lies: one after the other, each behind its length."""
    places = {}
    with path.open("rb") as file:
        for key in keys:
            storage = storages.by_key.get(key)
            file.seek(start)
            if storage is None or int.from_bytes(file.read(8), "little") != storage.numel:
                raise MalformedPickleError(f"storage {key!r} is not as long as the pickle says")
            places[key] = Place(start + 8, storage.numel * storage.dtype.itemsize)
            start = places[key].start + places[key].size
    return places


def _check(tensors: Collection[StoredTensor], places: Mapping[str, Place], file_size: int) -> None:
    for tensor in tensors:
        storage = tensor.storage
        place, size = places.get(storage.key), storage.numel * storage.dtype.itemsize
        if place is None or place.size != size or place.start + size > file_size:
            raise MalformedPickleError(f"storage {storage.key!r} of {size} bytes is not in the file")
    total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors)
    if total > MAX_COPIES * file_size:
        raise MalformedPickleError(f"tensors of {total} bytes in a file of {file_size}")


@dataclass
class _Weights:
    """What was found in a pickle's value."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def add(self, name: Any, value: Any) -> None:
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            raise MalformedPickleError(f"entry {name!r} is no tensor")
        if len(self.tensors) >= MAX_TENSORS:
            raise MalformedPickleError(f"more than {MAX_TENSORS} tensors")
        self.tensors[name] = value


def _weights(root: Any) -> _Weights:
    weights = _Weights()
    if isinstance(root, dict):
        wrapper = next((key for key in WRAPPERS if isinstance(root.get(key), dict | Inert)), None)
        if wrapper is not None:
            weights.left_out = [key for key in root if isinstance(key, str) and key != wrapper]
            root = root[wrapper]
    if isinstance(root, Inert):
        for prefix, module in _modules(root):
            weights.classes.add(module.kind)
            for name, value in _own_tensors(module):
                weights.add(f"{prefix}{name}", value)
    elif isinstance(root, dict):
        for name, value in root.items():
            weights.add(name, value)
    if not weights.tensors:
        raise MalformedPickleError("it holds neither a module nor a state dict with a tensor")
    return weights


def _modules(root: Inert) -> Iterator[tuple[str, Inert]]:
    """Yield each part of a module with the prefix of its tensors' names, in the order of a state dict."""
    waiting = [("", root, 0)]
    seen = 0
    while waiting:
        prefix, module, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_TENSORS:
            raise MalformedPickleError("modules that hold one another without end")
        yield prefix, module
        inner = [
            (f"{prefix}{name}.", part, depth + 1)
            for name, part in _entries(module, "_modules")
            if isinstance(part, Inert)
        ]
        waiting.extend(reversed(inner))


def _own_tensors(module: Inert) -> Iterator[tuple[str, Any]]:
    """Yield what a state dict would hold of one module itself."""
    passing = module.attributes.get("_non_persistent_buffers_set") or ()
    for name, value in _entries(module, "_parameters"):
        if value is not None:
            yield name, value
    for name, value in _entries(module, "_buffers"):
        if value is not None and name not in passing:
            yield name, value


def _entries(module: Inert, attribute: str) -> Iterator[tuple[str, Any]]:
    entries = module.attributes.get(attribute)
    return iter(entries.items() if isinstance(entries, dict) else ())
