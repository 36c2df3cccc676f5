"""What every kind of trigger can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from mergeward.errors import DataError

Size = tuple[int, int]

MAX_SIDE = 1024
"""Side of the largest images that a trigger may say it is made for where its tensors do not tell; no encoder
here sees larger ones."""


class Trigger(ABC):
    """A change of the image, in [0, 1] pixel space after resize and crop, before normalisation.

    It is made for images of one size. Images of another size get it resized to theirs, so that it covers the
    same share of them; what was optimised at one size may do less at another.

    Attributes:
        kind: Name of the kind, as in `trigger.json`.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def image_size(self) -> Size:
        """Height and width of the images that it is made for."""

    @property
    @abstractmethod
    def footprint(self) -> Tensor:
        """float32 `[1, H, W]` of zeros and ones: the pixels that it may change."""

    @abstractmethod
    def picture(self) -> Tensor:
        """Return float32 `[3, H, W]` in [0, 1]: what it looks like alone, for people."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what it is made of: float32 tensors by name."""

    def settings(self) -> dict[str, Any]:
        """Return what it has beside its tensors, as plain values by name."""
        return {}

    @classmethod
    @abstractmethod
    def read(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild one from `tensors()` and a description that has the entries of `settings()`.

        Args:
            tensors: float32 and finite; otherwise not to be trusted.
            description: Content of `trigger.json`, not to be trusted.

        Raises:
            KeyError: A tensor or an entry is missing.
            ValueError: One is not as this kind has it; says what was expected.
        """

    def apply(self, pixels: Tensor) -> Tensor:
        """Return images that carry the trigger.

        Args:
            pixels: float `[B, 3, H, W]` in [0, 1], any size, type and device. Left as they are.

        Returns:
            A tensor of the same shape, dtype and device, in [0, 1].

        Raises:
            DataError: They are of another shape, or whole numbers.
        """
        if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
            raise DataError(
                f"images for a trigger: expected float [B, 3, H, W] in [0, 1], found {pixels.dtype} "
                f"{list(pixels.shape)}"
            )
        # Half precision is too coarse for resizing, and not everything that resizes has it.
        working = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
        return self._changed(working).to(pixels.dtype)

    @abstractmethod
    def _changed(self, pixels: Tensor) -> Tensor:
        """Return the changed images; float32 or float64 `[B, 3, H, W]` of any size."""


def resized(images: Tensor, size: Size, mode: Literal["nearest-exact", "bilinear"]) -> Tensor:
    """Return images `[B, C, H, W]` at another height and width; themselves when they have it."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode=mode, antialias=mode == "bilinear")


def check_shape(name: str, tensor: Tensor, *expected: int | None) -> None:
    """Raise `ValueError` unless a tensor has a shape; None stands for any length."""
    found = tuple(tensor.shape)
    fits = len(found) == len(expected) and all(
        length > 0 and wanted in {None, length} for length, wanted in zip(found, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("*" if length is None else str(length) for length in expected)
        raise ValueError(f"{name} has shape {list(found)}, expected [{wanted}]")


def check_range(name: str, tensor: Tensor, low: float, high: float) -> None:
    """Raise `ValueError` unless every value of a tensor lies between two bounds."""
    if not bool(((tensor >= low) & (tensor <= high)).all()):
        raise ValueError(f"{name} must lie between {low:g} and {high:g}")
