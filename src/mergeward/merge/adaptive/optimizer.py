"""Adam over a flat buffer, a span at a time: no gradient of the whole buffer is ever held."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Adam (arXiv:1412.6980) with the defaults of PyTorch.

    Args:
        values: What is learnt, a flat buffer `[P]`; written in place.
        lr: Step size, in the unit of the values.

    Attributes:
        lr: The same, for the steps to come.
        pace: Factor of the step size in the steps to come.
    """

    def __init__(self, values: Tensor, *, lr: float) -> None:
        self._values = values
        self.lr = lr
        self.pace = 1.0
        self._first = torch.zeros_like(values)
        self._second = torch.zeros_like(values)
        self._steps = 0

    def restart(self) -> None:
        """Forget the moments and the number of steps taken."""
        self._first.zero_()
        self._second.zero_()
        self._steps = 0

    def begin(self) -> None:
        """Begin a step; `update` is then to be called once for every span."""
        self._steps += 1

    @torch.no_grad()
    def update(self, span: tuple[int, int], gradient: Tensor) -> None:
        """Take the step in one half-open range, down its gradient `[n]`."""
        part = slice(*span)
        adam(
            [self._values[part]],
            [gradient],
            [self._first[part]],
            [self._second[part]],
            [],
            [torch.tensor(float(self._steps - 1), device=self._values.device)],  # it counts this step itself
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.pace * self.lr,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and the number of steps taken."""
        return {"first": self._first, "second": self._second, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._steps = int(state["steps"])
