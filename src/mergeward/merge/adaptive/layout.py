"""Where each tensor of a model lies in one flat buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The tensors of a scope laid end to end.

    Attributes:
        names: Tensor names, in order.
        shapes: Their shapes.
        spans: Their half-open ranges in a flat buffer of `size` elements.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Layout:
        """Lay out tensors in their own order."""
        spans = []
        end = 0
        for tensor in tensors.values():
            start, end = end, end + tensor.numel()
            spans.append((start, end))
        return cls(tuple(tensors), tuple(tensor.shape for tensor in tensors.values()), tuple(spans))

    @property
    def size(self) -> int:
        """Number of elements of a flat buffer, `P`."""
        return self.spans[-1][1] if self.spans else 0

    def blocks(self, flat: Tensor) -> list[Tensor]:
        """Return a view `[..., n]` of each tensor's range in a buffer `[..., P]`, in order."""
        return [flat[..., start:end] for start, end in self.spans]

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return a view of a buffer `[P]` for each tensor, by name and in its own shape."""
        return {
            name: block.view(shape)
            for name, shape, block in zip(self.names, self.shapes, self.blocks(flat), strict=True)
        }

    def flatten(self, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        """Copy tensors, looked up by name, into one new flat buffer `[P]`."""
        flat = torch.empty(self.size, dtype=dtype)
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])
        return flat
