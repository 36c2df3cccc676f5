"""What every model looks like to the code that merges it: names, shapes, and one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mergeward.errors import CheckpointError


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor without reading it.

    Attributes:
        shape: Its size along each dimension.
        dtype: Its type as stored.
        file: Name of the file that holds it, relative to the checkpoint's folder.
        nbytes: Its size in bytes as stored.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: str
    nbytes: int

    @property
    def numel(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


class TensorSource(Protocol):
    """A model whose tensors are read one at a time, by name: a `Checkpoint` or an `InMemory`."""

    @property
    def name(self) -> str:
        """What to call it in an error."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor by name, in file order."""

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The architecture's configuration, where there is one."""

    def view(self, name: str) -> Tensor:
        """Return one tensor as stored and unchecked. It may share memory with the source."""

    def read(self, name: str) -> Tensor:
        """Return one tensor, checked to be finite. It may share memory with the source."""


class InMemory:
    """Tensors that the caller holds, seen as a checkpoint.

    Args:
        tensors: The tensors by name; kept, not copied, and never written to.
        name: What to call the model in an error.
        config: The architecture's configuration.

    Example:
        >>> import torch
        >>> InMemory({"w": torch.zeros(2, 3)}).tensors["w"].shape
        (2, 3)
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        *,
        name: str = "model in memory",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self._values = tensors
        self.tensors: Mapping[str, TensorInfo] = {
            key: TensorInfo(tuple(value.shape), value.dtype, "", value.nbytes)
            for key, value in tensors.items()
        }

    def view(self, name: str) -> Tensor:
        """Return one tensor, unchecked.

        Raises:
            CheckpointError: There is none of that name.
        """
        if name not in self._values:
            raise CheckpointError(f"{self.name}: no tensor {name!r}")
        return self._values[name].detach()

    def read(self, name: str) -> Tensor:
        """Return one tensor.

        Raises:
            CheckpointError: There is none of that name, or it holds NaN or infinity.
        """
        return finite(self.view(name), name=name, where=self.name)


class Floats(Mapping[str, Tensor]):
    """Some tensors of a model as float32, each read when it is asked for and not kept.

    Args:
        source: The model.
        names: Their names, in order.

    Example:
        >>> import torch
        >>> Floats(InMemory({"w": torch.ones(2, dtype=torch.float16)}), ["w"])["w"].dtype
        torch.float32
    """

    def __init__(self, source: TensorSource, names: Iterable[str]) -> None:
        self._source = source
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor, checked to be finite."""
        if name not in self._names:
            raise KeyError(name)
        return self._source.read(name).float()

    def __contains__(self, name: object) -> bool:
        """Tell without reading."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)


class Piece(NamedTuple):
    """Some values of one tensor, on their way to where the whole is put together.

    Attributes:
        name: The tensor's name.
        start: Where they begin among the tensor's values, in row-major order.
        values: The values, of any shape.
    """

    name: str
    start: int
    values: Tensor


def whole_tensors(like: TensorSource, pieces: Iterable[Piece]) -> Iterator[tuple[str, Tensor]]:
    """Put pieces together.

    Args:
        like: Gives the shapes.
        pieces: Those of one tensor after another, each from its beginning, without gap.

    Yields:
        Name and tensor, in the order of the pieces.
    """
    for name, group in groupby(pieces, key=lambda piece: piece.name):
        values = [piece.values.reshape(-1) for piece in group]
        whole = values[0] if len(values) == 1 else torch.cat(values)
        yield name, whole.reshape(like.tensors[name].shape)


def finite(tensor: Tensor, *, name: str, where: object) -> Tensor:
    """Return `tensor` itself if it holds neither NaN nor infinity.

    Raises:
        CheckpointError: It does; the error names it and `where` it is from.
    """
    if not is_finite(tensor):
        raise CheckpointError(f"{where}: tensor {name!r} holds NaN or infinity")
    return tensor


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds neither NaN nor infinity.

    A sum that is finite shows it in one pass; one that is not may have overflowed, and decides nothing.
    """
    if not tensor.is_floating_point() or math.isfinite(float(tensor.sum())):
        return True
    return bool(torch.isfinite(tensor).all())
