"""A fixed difference added to the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from mergeward.attack.trigger.trigger import Size, Trigger, check_range, check_shape, resized


@dataclass(frozen=True)
class AdditiveTrigger(Trigger):
    """A fixed difference added to the image: `clip(x + difference)`.

    Attributes:
        difference: float32 `[3, H, W]` in [-1, 1].
    """

    difference: Tensor

    kind: ClassVar[str] = "additive"

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""
        return int(self.difference.shape[-2]), int(self.difference.shape[-1])

    @property
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]`: where the difference is not zero."""
        return (self.difference != 0).any(0, keepdim=True).float()

    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]`: the difference on grey."""
        return (self.difference + 0.5).clamp(0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """Return `difference`."""
        return {"difference": self.difference}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from its tensor; see `Trigger.read`."""
        difference = tensors["difference"]
        check_shape("difference", difference, 3, None, None)
        check_range("difference", difference, -1, 1)
        return cls(difference)

    def _changed(self, pixels: Tensor) -> Tensor:
        size = (pixels.shape[-2], pixels.shape[-1])
        return (pixels + resized(self.difference[None].to(pixels), size, "bilinear")).clamp(0, 1)
