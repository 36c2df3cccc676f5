"""Where each tensor of a safetensors file will lie, known before any of them is."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.checkpoint.header import DTYPES
from mergeward.checkpoint.source import Piece, TensorInfo
from mergeward.errors import OutputError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 8


@dataclass(frozen=True)
class _Place:
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    end: int

    def holds(self, piece: Piece) -> bool:
        """Whether a piece is the whole tensor in its shape, or some of its values in a row."""
        if piece.values.dim() != 1:
            return piece.start == 0 and tuple(piece.values.shape) == self.shape
        return piece.start + piece.values.numel() <= math.prod(self.shape)


class Layout:
    """The plan of one safetensors file.

    Args:
        tensors: Name, shape and type of every tensor. Those of wider types come first, so that each lies at a
            multiple of its own size; else the given order is kept.
        dtype: Type of the floating tensors in the file; None keeps each its own.
        metadata: Free-text entries of the header.

    Attributes:
        header: The first bytes of the file.
        nbytes: Size of the file.
    """

    def __init__(
        self, tensors: Mapping[str, TensorInfo], *, dtype: torch.dtype | None, metadata: Mapping[str, str]
    ) -> None:
        types = {name: output_dtype(info.dtype, dtype) for name, info in tensors.items()}
        self._places: dict[str, _Place] = {}
        offset = 0
        for name in sorted(tensors, key=lambda name: -types[name].itemsize):
            shape = tensors[name].shape
            end = offset + math.prod(shape) * types[name].itemsize
            self._places[name] = _Place(shape, types[name], offset, end)
            offset = end
        self.header = self._encode(metadata)
        self.nbytes = len(self.header) + offset

    def write(self, descriptor: int, piece: Piece) -> None:
        """Write some values of one tensor to their place in an open file.

        Raises:
            OutputError: The plan has no such tensor, or one of another size or type.
        """
        place = self._places.get(piece.name)
        if place is None or piece.values.dtype != place.dtype or not place.holds(piece):
            planned = "nothing" if place is None else f"{list(place.shape)} {place.dtype}"
            raise OutputError(
                f"tensor {piece.name!r}: {list(piece.values.shape)} {piece.values.dtype} given, "
                f"{planned} planned"
            )
        offset = len(self.header) + place.start + piece.start * place.dtype.itemsize
        _write_at(descriptor, piece.values, offset)

    def write_header(self, descriptor: int) -> None:
        """Write the header, which is final before the first tensor is known, and give the file its size."""
        os.ftruncate(descriptor, self.nbytes)
        os.pwrite(descriptor, self.header, 0)

    def _encode(self, metadata: Mapping[str, str]) -> bytes:
        content: dict[str, object] = {"__metadata__": dict(metadata)}
        for name, place in self._places.items():
            content[name] = {
                "dtype": _NAMES[place.dtype],
                "shape": list(place.shape),
                "data_offsets": [place.start, place.end],
            }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text


def _write_at(descriptor: int, values: Tensor, offset: int) -> None:
    flat = values.detach().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


def output_dtype(stored: torch.dtype, chosen: torch.dtype | None) -> torch.dtype:
    """Return the type a tensor is written as: `chosen` if it is floating and one was chosen, else its own."""
    return chosen if chosen is not None and stored.is_floating_point else stored
