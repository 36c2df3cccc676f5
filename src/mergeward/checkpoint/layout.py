"""Where each tensor of a safetensors file will lie, known before any of them is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from mergeward.checkpoint.header import DTYPES
from mergeward.checkpoint.source import TensorInfo
from mergeward.errors import OutputError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 8


@dataclass(frozen=True)
class _Place:
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    end: int


class Layout:
    """The plan of one safetensors file.

    Args:
        tensors: Name, shape and type of every tensor. Those of wider types come first, so that each lies at a
            multiple of its own size; else the given order is kept.
        dtype: Type of the floating tensors in the file; None keeps each its own.
        metadata: Free-text entries of the header.
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
        self._header = self._encode(metadata)
        self.nbytes = len(self._header) + offset

    def write(self, file: BinaryIO, name: str, tensor: Tensor) -> None:
        """Write one tensor to its place.

        Raises:
            OutputError: The plan has no such tensor, or one of another shape or type.
        """
        place = self._places.get(name)
        if place is None or (tuple(tensor.shape), tensor.dtype) != (place.shape, place.dtype):
            planned = "nothing" if place is None else f"{list(place.shape)} {place.dtype}"
            raise OutputError(
                f"tensor {name!r}: {list(tensor.shape)} {tensor.dtype} given, {planned} planned"
            )
        file.seek(len(self._header) + place.start)
        file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def write_header(self, file: BinaryIO) -> None:
        """Write the header, which is final before the first tensor is known."""
        file.seek(0)
        file.write(self._header)

    def missing(self, written: set[str]) -> list[str]:
        """Return the planned tensors that are not among those written, in the plan's order."""
        return [name for name in self._places if name not in written]

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


def output_dtype(stored: torch.dtype, chosen: torch.dtype | None) -> torch.dtype:
    """Return the type a tensor is written as: `chosen` if it is floating and one was chosen, else its own."""
    return chosen if chosen is not None and stored.is_floating_point else stored
