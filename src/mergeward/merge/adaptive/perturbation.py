"""Universal perturbations: one small image a task that, added to any input, changes the prediction most.

They stand in for a trigger that the one who merges does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mergeward.merge.adaptive.optimizer import Adam


class Perturbations:
    """One delta a task, in [0, 1] pixel space, with |delta| <= bound everywhere.

    Args:
        sizes: Images of each task in a batch.
        side: Height and width of the images.
        bound: L-infinity bound, as a share of the pixel range.
        lr: Adam step size, in the same unit.
        dtype: Type of the pixels.
        device: Where they are.

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
        device: torch.device | None = None,
    ) -> None:
        self._sizes = list(sizes)
        self._bound = bound
        self.values = torch.zeros(len(sizes), 3, side, side, dtype=dtype, device=device, requires_grad=True)
        self._optimizer = Adam(self.values.detach().view(-1), lr=lr)

    def apply(self, images: Tensor) -> Tensor:
        """Return a batch with each task's delta added, clamped to [0, 1]; differentiable in `values`."""
        parts = zip(torch.split(images, self._sizes), self.values, strict=True)
        return torch.cat([task + delta for task, delta in parts]).clamp(0, 1)

    def climb(self, loss: Tensor) -> None:
        """Take one Adam step up the loss, then project onto the bound."""
        (slope,) = torch.autograd.grad(loss, [self.values])
        self._optimizer.begin()
        self._optimizer.update((0, slope.numel()), slope.neg().view(-1))
        with torch.no_grad():
            self.values.clamp_(-self._bound, self._bound)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what it has learnt."""
        return {"values": self.values.detach(), **self._optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.values.copy_(state["values"])
        self._optimizer.load_state_dict(state)
