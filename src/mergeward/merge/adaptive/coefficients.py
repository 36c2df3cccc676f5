"""Merging coefficients: how far the merge goes along each task vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mergeward.merge.adaptive.optimizer import Adam

Granularity = Literal["layer", "task"]


class Coefficients:
    """Learnt lambda, one a contribution and tensor, or one a contribution.

    After each step the values are projected onto [0, 1]. (AdaMerging's code clamps in the forward pass
    instead, where a value that has left the interval gets no gradient and can never come back.)

    Args:
        contributions: Number of contributions, `T`.
        tensors: Number of tensors, `L`.
        granularity: `layer`: one a tensor; `task`: shared by the tensors of a contribution.
        initial: Starting value of all.
        lr: Adam step size.
        clamp: Whether the values are projected onto [0, 1].
        dtype: Type of the values.
        device: Where they are.

    Attributes:
        optimizer: What moves them.
    """

    def __init__(
        self,
        contributions: int,
        tensors: int,
        *,
        granularity: Granularity,
        initial: float,
        lr: float,
        clamp: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._initial = initial
        self._clamp = clamp
        self._carried: Tensor | None = None
        self._shape = (contributions, tensors)
        self._shared = granularity == "task"
        self._values = torch.full(
            (contributions, 1 if self._shared else tensors), initial, dtype=dtype, device=device
        )
        self.optimizer = Adam(self._values.view(-1), lr=lr)

    def by_tensor(self) -> Tensor:
        """Return the present values as `[T, L]`."""
        return self._values.expand(self._shape)

    def step(self, gradient: Tensor) -> None:
        """Take one Adam step, then project onto [0, 1]; `gradient` is dL/dlambda `[T, L]`."""
        if self._carried is not None:
            gradient, self._carried = gradient + self._carried, None
        own = gradient.sum(1) if self._shared else gradient.reshape(-1)
        self.optimizer.begin()
        self.optimizer.update((0, len(own)), own)
        if self._clamp:
            self._values.clamp_(0, 1)

    def carry(self, gradient: Tensor) -> None:
        """Have `gradient` `[T, L]` added to that of the next step."""
        self._carried = gradient

    def put_back(self) -> None:
        """Set every value to what it was at the start; Adam keeps its moments."""
        self._values.fill_(self._initial)

    def restart(self) -> None:
        """Set every value to what it was at the start, and forget Adam's moments."""
        self.put_back()
        self.optimizer.restart()

    def set_lr(self, lr: float) -> None:
        """Go on with another step size."""
        self.optimizer.lr = lr

    def named(self, contributions: Sequence[str], tensors: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the present values by contribution and tensor."""
        return {
            name: dict(zip(tensors, row, strict=True))
            for name, row in zip(contributions, self.by_tensor().tolist(), strict=True)
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return what it has learnt."""
        carried = {} if self._carried is None else {"carried": self._carried}
        return {"values": self._values, **carried, **self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._values.copy_(state["values"])
        carried = state.get("carried")
        self._carried = None if carried is None else carried.to(self._values)
        self.optimizer.load_state_dict(state)
