"""The task vectors of a merge in one buffer, whole or in fewer bits.

    tau_t = theta_t - theta_0

Everything is computed in the buffers' own type: what is stored in fewer bits is widened a cache-sized piece
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mergeward.merge.adaptive.layout import Layout

Storage = Literal["float32", "bfloat16", "int8"]
"""How task vectors are kept: as computed; rounded to bfloat16; or as whole numbers from -127 to 127 with one
scale a task vector and tensor."""

PIECE = 1 << 18
"""Values of a tensor that are widened at a time."""

_INT8_LIMIT = 127


class TaskVectors:
    """Task vectors `[T, P]`, summed and projected tensor by tensor.

    Args:
        layout: The tensors, `L` of them with `P` values together.
        base: The base's tensors by name.
        contributions: The same tensors in each of `T` contributions.
        storage: How to keep them; `float32` stands for `dtype` as it is.
        dtype: Type of what is computed.
        device: Where they are kept.

    Attributes:
        values: `[T, P]`, as stored.
    """

    def __init__(
        self,
        layout: Layout,
        base: Mapping[str, Tensor],
        contributions: Sequence[Mapping[str, Tensor]],
        *,
        storage: Storage = "float32",
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._layout = layout
        self._dtype = dtype
        count = len(contributions)
        stored = {"float32": dtype, "bfloat16": torch.bfloat16, "int8": torch.int8}[storage]
        self.values = torch.empty(count, layout.size, dtype=stored, device=device)
        self._scales = (
            torch.ones(count, len(layout.names), dtype=dtype, device=device) if storage == "int8" else None
        )
        for tensor, (name, (start, end)) in enumerate(zip(layout.names, layout.spans, strict=True)):
            origin = base[name].to(dtype).flatten()
            for index, contribution in enumerate(contributions):
                difference = contribution[name].to(dtype).flatten() - origin
                self.values[index, start:end] = self._stored(difference, index, tensor)

    def _stored(self, difference: Tensor, index: int, tensor: int) -> Tensor:
        if self._scales is None:
            return difference
        largest = float(difference.abs().amax()) if difference.numel() else 0.0
        self._scales[index, tensor] = scale = largest / _INT8_LIMIT or 1.0
        return difference.div_(scale).round_()

    def weighted_sum(self, tensor: int, coefficients: Tensor) -> Tensor:
        """Return the sum over `t` of `coefficients[t] * tau_t` in one tensor.

        Args:
            tensor: The tensor's place in the layout.
            coefficients: `[T]`.

        Returns:
            A new `[n]`.
        """
        start, end = self._layout.spans[tensor]
        factors = self._scaled(coefficients, tensor).unsqueeze(0)
        total = torch.empty(end - start, dtype=self._dtype, device=self.values.device)
        for place, piece in self._pieces(start, end):
            torch.mm(factors, piece, out=total[place : place + piece.shape[1]].unsqueeze(0))
        return total

    def projections(self, tensor: int, direction: Tensor) -> Tensor:
        """Return the inner product of each task vector with a direction `[n]` in one tensor, as `[T]`."""
        start, end = self._layout.spans[tensor]
        parts = [
            piece @ direction[place : place + piece.shape[1]] for place, piece in self._pieces(start, end)
        ]
        return self._scaled(torch.stack(parts).sum(0), tensor)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """Yield pieces `[T, n]` of a span in the type of the arithmetic, each with its place in the span."""
        step = end - start if self.values.dtype == self._dtype else PIECE
        for place in range(start, end, max(step, 1)):
            yield place - start, self.values[:, place : min(place + step, end)].to(self._dtype)

    def _scaled(self, factors: Tensor, tensor: int) -> Tensor:
        return factors if self._scales is None else factors * self._scales[:, tensor]
