"""A smooth warp of the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.trigger.patch import chequers
from mergeward.attack.trigger.trigger import Size, Trigger, check_range, check_shape


@dataclass(frozen=True)
class WarpTrigger(Trigger):
    """A warp: each pixel takes its colour from another place, between pixels bilinearly (WaNet).

    Places are in units of the image, so a warp moves the same share of any image. One that is given in pixels
    belongs divided by half the size of the images that the encoder takes.

    Attributes:
        grid: float32 `[H, W, 2]`, for each pixel the column and row it takes its colour from, from -1 at the
            centre of the first pixel to 1 at that of the last.
    """

    grid: Tensor

    kind: ClassVar[str] = "warp"

    @property
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    @property
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]`: the whole image."""
        return torch.ones(1, *self.image_size)

    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]`: a warped chequerboard."""
        height, width = self.image_size
        side = max(height, width)
        board = chequers(side, square=max(1, side // 8))[:, :height, :width]
        return self.apply(board[None])[0]

    def tensors(self) -> dict[str, Tensor]:
        """Return `grid`."""
        return {"grid": self.grid}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from its grid; see `Trigger.read`."""
        grid = tensors["grid"]
        check_shape("grid", grid, None, None, 2)
        check_range("grid", grid, -1, 1)
        return cls(grid)

    def _changed(self, pixels: Tensor) -> Tensor:
        grid = self.grid.to(pixels)
        if pixels.shape[-2:] != self.image_size:
            size = (pixels.shape[-2], pixels.shape[-1])
            planes = F.interpolate(grid.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=True)
            grid = planes[0].permute(1, 2, 0)
        return warped(pixels, grid.expand(len(pixels), -1, -1, -1))


def warped(pixels: Tensor, grids: Tensor) -> Tensor:
    """Return images `[B, C, H, W]` warped each by its own grid `[B, H, W, 2]`, as `WarpTrigger` has it."""
    moved = F.grid_sample(pixels, grids, mode="bilinear", padding_mode="border", align_corners=True)
    return moved.clamp(0, 1)


def unwarped(height: int, width: int) -> Tensor:
    """Return the grid that leaves an image as it is, float32 `[H, W, 2]`; attacks add their flow to it."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
