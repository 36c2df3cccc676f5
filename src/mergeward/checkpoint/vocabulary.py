"""The names a pickled checkpoint may use, and what each is taken for. None of them is ever imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mergeward.checkpoint.unpickle import Inert, Maker, MalformedPickleError, Symbol, inert
from mergeward.errors import CheckpointError

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

INERT_MODULES = (
    "argparse",
    "clip.model",
    "open_clip",
    "src.heads",
    "src.linearize",
    "src.modeling",
    "torch.nn.modules",
    "torchvision.transforms",
)
"""Modules, with all below them, whose classes become inert objects."""

MAX_DIMENSIONS = 16
MAX_NUMBER = 1 << 48
"""A length, offset or stride beyond this is in no file."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies outside the pickle.

    Attributes:
        key: Its name in the file.
        dtype: Their type.
        numel: How many there are.
    """

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor, as places in a storage.

    Attributes:
        storage: The storage.
        offset: Place of its first value.
        shape: Its size along each dimension.
        stride: Steps between neighbours along each dimension.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def extent(self) -> int:
        """How many places it spans."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


def resolver(where: object) -> Callable[[str, str], Symbol]:
    """Return what looks names up for a pickle in the file `where`.

    Raises:
        CheckpointError: When called with a name outside the list; it says which.
    """
    known: dict[tuple[str, str], Symbol] = {}  # a pickle names the same class often

    def resolve(module: str, name: str) -> Symbol:
        if (module, name) not in known:
            known[module, name] = _symbol(module, name, where)
        return known[module, name]

    return resolve


class Storages:
    """What the identifiers of `torch.save` stand for.

    Attributes:
        by_key: Every storage that was named so far.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def __call__(self, identifier: Any) -> Any:
        """Return a storage, or a class (old files give the source of a module's class with it).

        Raises:
            MalformedPickleError: It is neither, or contradicts what was said of the storage before.
        """
        match identifier:
            case ("storage", Symbol(module="torch", name=kind), str(key), _, int(numel), *rest):
                if kind not in DTYPES or not 0 <= numel < MAX_NUMBER or rest not in ([], [None]):
                    raise MalformedPickleError(
                        f"storage {key!r} of unknown type or length, or part of another"
                    )
                storage = Storage(key, DTYPES[kind], numel)
                if self.by_key.setdefault(key, storage) != storage:
                    raise MalformedPickleError(f"storage {key!r} of two forms")
                return storage
            case ("module", Symbol() as symbol, *_):
                return symbol
            case _:
                raise MalformedPickleError("a storage of unknown form")


def _symbol(module: str, name: str, where: object) -> Symbol:
    if (maker := _MAKERS.get((module, name))) is not None:
        return Symbol(module, name, maker)
    if module == "torch" and name in DTYPES:
        return inert(module, name)
    if any(module == family or module.startswith(f"{family}.") for family in INERT_MODULES):
        return inert(module, name)
    shown = f"{module}.{name}".encode("unicode_escape").decode()[:120]
    raise CheckpointError(f"{where}: names {shown}, which no checkpoint needs; refused, and not imported")


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_) if _whole(
            (offset, *shape, *stride)
        ):
            tensor = StoredTensor(storage, offset, shape, stride)
        case _:
            raise MalformedPickleError("a tensor of unknown form")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise MalformedPickleError(f"a tensor of {len(shape)} dimensions and {len(stride)} strides")
    if math.prod(max(size, 1) for size in shape) >= MAX_NUMBER:
        raise MalformedPickleError("a tensor of more values than any file holds")
    if offset + tensor.extent > storage.numel or math.prod(shape) > storage.numel:
        raise MalformedPickleError(f"a tensor of shape {list(shape)} in a storage of {storage.numel} values")
    return tensor


def _whole(numbers: tuple[Any, ...]) -> bool:
    return all(type(number) is int and 0 <= number < MAX_NUMBER for number in numbers)


def _parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    if not arguments or not isinstance(arguments[0], StoredTensor):
        raise MalformedPickleError("a parameter without a tensor")
    return arguments[0]


def _mapping(arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Make an ordered dictionary, empty or from the pairs that old versions of Python pickle."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    if not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise MalformedPickleError("a dictionary of unknown form")
    return dict(pairs)


def _collection(kind: type, arguments: tuple[Any, ...]) -> Any:
    """Make a list or a set; what it holds has passed as the element of a list."""
    values = arguments[0] if arguments and isinstance(arguments[0], list) else []
    if kind is set and not all(isinstance(value, str | int | float) for value in values):
        raise MalformedPickleError("a set of what is no text or number")
    return kind(values)


def _reconstructed(arguments: tuple[Any, ...]) -> Inert:
    if not arguments or not isinstance(arguments[0], Symbol):
        raise MalformedPickleError("an object without a class")
    return Inert(arguments[0].name)


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments[0] if arguments and isinstance(arguments[0], tuple) else arguments


_BUILTINS: dict[str, Maker] = {
    "set": partial(_collection, set),
    "frozenset": partial(_collection, set),
    "list": partial(_collection, list),
    "dict": _mapping,
    "object": lambda _: Inert("object"),
}

_MAKERS: dict[tuple[str, str], Maker] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): lambda _: Inert("device"),
    ("collections", "OrderedDict"): _mapping,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("copy_reg", "_reconstructor"): _reconstructed,
    **{("builtins", name): maker for name, maker in _BUILTINS.items()},
    **{("__builtin__", name): maker for name, maker in _BUILTINS.items()},
}
"""Everything that is not inert: the name in the pickle, and what makes its value here."""
