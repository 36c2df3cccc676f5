"""A patch pasted over part of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mergeward.attack.trigger.trigger import Size, Trigger, check_range, check_shape, resized
from mergeward.errors import UsageError


@dataclass(frozen=True)
class PatchTrigger(Trigger):
    """A patch pasted over part of the image: `x (1 - mask) + pattern mask`.

    At another size, pattern and mask are those of the nearest pixels, so that the mask stays zeros and ones.

    Attributes:
        pattern: float32 `[3, H, W]` in [0, 1]; only what the mask covers matters.
        mask: float32 `[1, H, W]` of zeros and ones. Explicit, so that black patches work.
    """

    pattern: Tensor
    mask: Tensor

    kind: ClassVar[str] = "patch"

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""
        return int(self.mask.shape[-2]), int(self.mask.shape[-1])

    @property
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]`: the mask."""
        return self.mask

    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]`: the patch on white."""
        return self.apply(torch.ones(1, *self.pattern.shape))[0]

    def tensors(self) -> dict[str, Tensor]:
        """Return `pattern` and `mask`."""
        return {"pattern": self.pattern, "mask": self.mask}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from its tensors; see `Trigger.read`."""
        pattern, mask = tensors["pattern"], tensors["mask"]
        check_shape("pattern", pattern, 3, None, None)
        check_shape("mask", mask, 1, *pattern.shape[1:])
        check_range("pattern", pattern, 0, 1)
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("mask must be zeros and ones")
        return cls(pattern, mask)

    def _changed(self, pixels: Tensor) -> Tensor:
        size = (pixels.shape[-2], pixels.shape[-1])
        mask = resized(self.mask[None].to(pixels), size, "nearest-exact")
        pattern = resized(self.pattern[None].to(pixels), size, "nearest-exact")
        return pixels * (1 - mask) + pattern * mask


def corner_mask(image_size: int, patch_size: int) -> Tensor:
    """Return the mask `[1, S, S]` of a square patch in the bottom-right corner.

    Raises:
        UsageError: The patch is larger than the image.
    """
    if patch_size > image_size:
        raise UsageError(f"a patch of {patch_size} pixels does not fit images of {image_size}x{image_size}")
    mask = torch.zeros(1, image_size, image_size)
    mask[:, image_size - patch_size :, image_size - patch_size :] = 1
    return mask


def chequered_patch(image_size: int, patch_size: int) -> PatchTrigger:
    """Return a black-and-white chequered patch in the bottom-right corner (BadNets, arXiv 1708.06733)."""
    return PatchTrigger(chequers(image_size), corner_mask(image_size, patch_size))


def chequers(image_size: int, square: int = 1) -> Tensor:
    """Return black and white squares, float32 `[3, S, S]`, black at the top left."""
    places = torch.arange(image_size) // square
    squares = ((places[:, None] + places[None, :]) % 2).float()
    return squares.expand(3, -1, -1).clone()
