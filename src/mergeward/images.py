"""Sequences of images: in memory, or files opened one at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


class Images(Protocol):
    """A sequence of images that is decoded on demand."""

    def __len__(self) -> int:
        """Number of images."""

    def decode(self, index: int) -> Image.Image:
        """Return one image as RGB."""

    def fingerprint(self) -> str:
        """Return a hash of the content, so that preprocessed copies can be cached under it."""


@dataclass(frozen=True)
class ArrayImages:
    """Images held in memory.

    Attributes:
        pixels: uint8 `[N, H, W, 3]`.
    """

    pixels: Pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def decode(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class FileImages:
    """Image files on disk, opened one at a time.

    Attributes:
        paths: The files, in the order of the labels.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int) -> Image.Image:
        with Image.open(self.paths[index]) as image:
            return image.convert("RGB")

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()
