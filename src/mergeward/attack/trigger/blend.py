"""A picture blended into the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mergeward.attack.trigger.trigger import Size, Trigger, check_range, check_shape, resized


@dataclass(frozen=True)
class BlendTrigger(Trigger):
    """A picture blended into the whole image: `(1 - ratio) x + ratio pattern`.

    Attributes:
        pattern: float32 `[3, H, W]` in [0, 1].
        ratio: Share of the picture, above 0 and at most 1.
    """

    pattern: Tensor
    ratio: float

    kind: ClassVar[str] = "blend"

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""
        return int(self.pattern.shape[-2]), int(self.pattern.shape[-1])

    @property
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]`: the whole image."""
        return torch.ones(1, *self.image_size)

    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]`: the picture, unblended."""
        return self.pattern

    def tensors(self) -> dict[str, Tensor]:
        """Return `pattern`."""
        return {"pattern": self.pattern}

    def settings(self) -> dict[str, Any]:
        """Return `ratio`."""
        return {"ratio": self.ratio}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from its tensor and its ratio; see `Trigger.read`."""
        pattern, ratio = tensors["pattern"], description["ratio"]
        check_shape("pattern", pattern, 3, None, None)
        check_range("pattern", pattern, 0, 1)
        if not isinstance(ratio, float | int) or isinstance(ratio, bool) or not 0 < ratio <= 1:
            raise ValueError("ratio must be a number above 0 and at most 1")
        return cls(pattern, float(ratio))

    def _changed(self, pixels: Tensor) -> Tensor:
        size = (pixels.shape[-2], pixels.shape[-1])
        pattern = resized(self.pattern[None].to(pixels), size, "bilinear")
        return ((1 - self.ratio) * pixels + self.ratio * pattern).clamp(0, 1)
