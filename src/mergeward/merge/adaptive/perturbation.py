"""Universal perturbations: one small image a task that, added to any input, changes the prediction most.

They stand in for a trigger that the one who merges does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive.optimizer import Adam


@dataclass(frozen=True)
class PixelSpace:
    """What a perturbation is measured in, seen from [0, 1] pixels: `image + scale * delta`, within limits.

    Attributes:
        scale: One unit of a perturbation in [0, 1] pixels: `[1, 3, 1, 1]`, or a number.
        low: Where images are clamped below, in [0, 1] pixels.
        high: Where they are clamped above.
    """

    scale: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def unit(cls) -> PixelSpace:
        """The pixels themselves."""
        return cls(torch.ones(()), torch.zeros(()), torch.ones(()))

    @classmethod
    def normalised(cls, encoder: nn.Module) -> PixelSpace:
        """The normalised pixels (x - mean) / std of an encoder, clamped to [0, 1] there.

        Of an image only what lies between the mean and one standard deviation above it outlives that clamp.

        Raises:
            UnsupportedError: The encoder has no buffers `mean` and `std`.
        """
        buffers = dict(encoder.named_buffers())
        if "mean" not in buffers or "std" not in buffers:
            raise UnsupportedError(
                "perturbing normalised pixels needs an encoder with the buffers mean and std of its "
                "normalisation; this one has none"
            )
        mean, std = buffers["mean"].double(), buffers["std"].double()
        return cls(std, mean, mean + std)


class Perturbations:
    """One delta a task, with |delta| <= bound everywhere.

    Args:
        sizes: Images of each task in a batch.
        side: Height and width of the images.
        bound: L-infinity bound, in the unit of `space`; None for none.
        lr: Adam step size, in the same unit.
        dtype: Type of the pixels.
        device: Where they are.
        space: What the deltas are measured in; by default [0, 1] pixels.

    Attributes:
        values: `[T, 3, S, S]`, 0 at the start.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        side: int,
        *,
        bound: float | None,
        lr: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        space: PixelSpace | None = None,
    ) -> None:
        self._sizes = list(sizes)
        self._bound = bound
        space = space or PixelSpace.unit()
        limits = (space.scale, space.low, space.high)
        self._scale, self._low, self._high = (part.to(device, dtype) for part in limits)
        self.values = torch.zeros(len(sizes), 3, side, side, dtype=dtype, device=device, requires_grad=True)
        self._optimizer = Adam(self.values.detach().view(-1), lr=lr)

    def apply(self, images: Tensor, *, clamp: bool = True) -> Tensor:
        """Return a batch with each task's delta added; differentiable in `values`.

        Args:
            images: `[sum of sizes, 3, S, S]` in [0, 1], task after task.
            clamp: Whether the result is clamped to the limits of the space.
        """
        parts = zip(torch.split(images, self._sizes), self.values * self._scale, strict=True)
        moved = torch.cat([task + delta for task, delta in parts])
        return moved.clamp(self._low, self._high) if clamp else moved

    def climb(self, loss: Tensor) -> None:
        """Take one Adam step up the loss, then project onto the bound."""
        (slope,) = torch.autograd.grad(loss, [self.values])
        self._optimizer.begin()
        self._optimizer.update((0, slope.numel()), slope.neg().view(-1))
        if self._bound is not None:
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
