"""Universal perturbations: one small image a task that, added to any input, changes the prediction most.

They stand in for a trigger that the one who merges does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Perturbations:
    """One delta a task, in [0, 1] pixel space, with |delta| <= bound everywhere.

    Args:
        sizes: Images of each task in a batch.
        side: Height and width of the images.
        bound: L-infinity bound, as a share of the pixel range.
        lr: Adam step size, in the same unit.
        dtype: Type of the pixels.

    Attributes:
        values: `[T, 3, S, S]`, 0 at the start.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        side: int,
        *,
        bound: float,
        lr: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._sizes = list(sizes)
        self._bound = bound
        self.values = torch.zeros(len(sizes), 3, side, side, dtype=dtype, requires_grad=True)
        self._optimizer = torch.optim.Adam([self.values], lr=lr, maximize=True)

    def apply(self, images: Tensor) -> Tensor:
        """Return a batch with each task's delta added, clamped to [0, 1]; differentiable in `values`."""
        parts = zip(torch.split(images, self._sizes), self.values, strict=True)
        return torch.cat([task + delta for task, delta in parts]).clamp(0, 1)

    def climb(self, loss: Tensor) -> None:
        """Take one Adam step up the loss, then project onto the bound."""
        (self.values.grad,) = torch.autograd.grad(loss, [self.values])
        self._optimizer.step()
        with torch.no_grad():
            self.values.clamp_(-self._bound, self._bound)
