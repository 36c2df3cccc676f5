"""Sequences of images: in memory, or files opened one at a time."""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from mergeward.errors import DataError

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are opened, whatever a file is called; for some others Pillow runs other programs."""

MAX_PIXELS = 64_000_000
"""An image of more pixels than this is refused before it is decoded."""

# What Pillow's decoders raise on files that are cut off, damaged or made to do harm.
_DAMAGED = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class Images(Protocol):
    """A sequence of images that is decoded on demand."""

    def __len__(self) -> int:
        """Number of images."""

    def decode(self, index: int) -> Image.Image:
        """Return one image as RGB; `DataError` when it cannot be decoded."""

    def fingerprint(self) -> str:
        """Return a hash of the content, so that preprocessed copies can be cached under it."""


class SourceImages(Images, Protocol):
    """Images of a source that splits are cut from."""

    def digests(self) -> tuple[str, ...]:
        """Return a hash of each image; equal images have equal ones."""

    def select(self, rows: Rows) -> Self:
        """Return the images of some rows, in the order of `rows`."""


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
        """Return one image as RGB."""
        return Image.fromarray(self.pixels[index])

    def fingerprint(self) -> str:
        """Return a hash of the shape and the pixels."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    def digests(self) -> tuple[str, ...]:
        """Return a hash of the pixels of each image."""
        return tuple(hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in self.pixels)

    def select(self, rows: Rows) -> ArrayImages:
        """Return a copy of some rows."""
        return ArrayImages(self.pixels[rows])


@dataclass(frozen=True)
class FileImages:
    """Image files on disk, opened one at a time; made by `FileImages.of`.

    Attributes:
        paths: The files, in the order of the labels.
        hashes: SHA-256 of each file.
    """

    paths: tuple[Path, ...]
    hashes: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Self:
        """Read each file once, for its hash; `DataError` when one cannot be read."""
        files = tuple(paths)
        return cls(files, tuple(_file_hash(path) for path in files))

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int) -> Image.Image:
        """Return one image as RGB; `DataError`, which names the file, when it cannot be decoded."""
        return decode_image(self.paths[index], name=str(self.paths[index]))

    def fingerprint(self) -> str:
        """Return a hash of the files' contents; their names do not matter."""
        return joint_hash(self.hashes)

    def digests(self) -> tuple[str, ...]:
        """Return the hash of each file."""
        return self.hashes

    def select(self, rows: Rows) -> FileImages:
        """Return some of the files."""
        return FileImages(tuple(self.paths[row] for row in rows), tuple(self.hashes[row] for row in rows))


def joint_hash(hashes: Iterable[str]) -> str:
    """Return one hash for a sequence of hashes."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def decode_image(source: Path | BytesIO, *, name: str) -> Image.Image:
    """Decode one image that someone else made.

    Args:
        source: The file, or its content.
        name: What to call it in an error.

    Returns:
        The image as RGB; of an animation the first frame.

    Raises:
        DataError: It is not an image in one of `FORMATS`, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height <= MAX_PIXELS:
                    return to_rgb(image)
                size = f"{image.width}x{image.height}"
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{name}: cannot be decoded as an image ({reason})") from error
    raise DataError(f"{name}: an image of {size} pixels; at most {MAX_PIXELS} are decoded")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB, laid on white where it is transparent, as transformers' image processors do."""
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
