"""The triggers that BadMerging's authors published: `.npy` files in CLIP's normalised pixel space."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mergeward.attack.trigger.patch import PatchTrigger, corner_mask
from mergeward.attack.trigger.trigger import MAX_SIDE
from mergeward.checkpoint.files import read_bounded, regular_file
from mergeward.errors import CheckpointError, UsageError
from mergeward.vision.preprocess import CLIP_MEAN, CLIP_STD

MAX_BYTES = 1 << 24
"""A larger file is not read; a patch of a thousand pixels a side in float32 is below."""

MAX_HEADER = 4096

SLACK = 0.1
"""How far out of [0, 1] a pixel may lie. The published code bounds all three colours by the widest of their
ranges, which lets red reach 1.058 and blue -0.087; what is outside is clipped."""


def read_published_patch(path: str | Path, image_size: int) -> PatchTrigger:
    """Read a published patch as a trigger in the bottom-right corner.

    Args:
        path: The `.npy` file: floats `[3, L, L]`, pixels less CLIP's mean, divided by its standard deviation.
            It is read without pickle.
        image_size: Side of the images that it is made for, in pixels, at most `MAX_SIDE`; the published ones
            are for 224.

    Raises:
        CheckpointError: The file is no such array.
        UsageError: The patch is larger than the images, or these are too large.
    """
    if image_size > MAX_SIDE:
        raise UsageError(f"image size {image_size}: expected at most {MAX_SIDE}")
    path = Path(path)
    regular_file(path, expected="a published trigger (.npy)")
    patch = torch.from_numpy(_array(path, read_bounded(path, MAX_BYTES)))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pixels = patch * std + mean
    if not bool(((pixels >= -SLACK) & (pixels <= 1 + SLACK)).all()):
        raise CheckpointError(f"{path}: not in CLIP's normalised pixel space, nor close to it")
    side = int(patch.shape[-1])
    mask = corner_mask(image_size, side)
    pattern = torch.zeros(3, image_size, image_size)
    pattern[:, image_size - side :, image_size - side :] = pixels.clamp(0, 1)
    return PatchTrigger(pattern, mask)


def _array(path: Path, content: bytes) -> npt.NDArray[np.float32]:
    """Parse the file; its header is checked before anything is allocated."""
    try:
        shape, dtype = _header(io.BytesIO(content))
        if dtype.kind != "f" or len(shape) != 3 or shape[0] != 3 or not 0 < shape[1] == shape[2]:
            raise ValueError(f"{dtype} {list(shape)}, expected floats [3, L, L]")
        if shape[1] * shape[2] * 3 * dtype.itemsize > len(content):
            raise ValueError("shorter than its header says")
        loaded: npt.NDArray[np.float64] = np.load(
            io.BytesIO(content), allow_pickle=False, max_header_size=MAX_HEADER
        )
        return loaded.astype(np.float32)
    except (EOFError, OverflowError, SyntaxError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: not a published trigger ({reason})") from error


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("expected version 1.0 of the .npy format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=MAX_HEADER)
    return shape, dtype
