"""Images as the checkpoint wants them: resized and cropped once, kept as uint8 pixels.

The numbers equal those of the Pillow-based `transformers.CLIPImageProcessor` up to its own rounding. What it
does after the crop (rescale to [0, 1], normalise) is part of the encoder here, because triggers and
perturbations live in [0, 1] pixel space.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from mergeward.cache import artefact
from mergeward.errors import CheckpointError, DataError
from mergeward.images import ArrayImages, Images
from mergeward.progress import track

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessor:
    """What `preprocessor_config.json` says.

    Attributes:
        resize: `(height, width)` in pixels for a resize to exactly that, an int for the shortest edge, or
            None for no resize.
        crop: `(height, width)` of the centre crop, or None.
        resample: Pillow's resampling filter, as its number.
        mean: Per-channel mean that the encoder subtracts from pixels in [0, 1].
        std: Per-channel standard deviation that it divides by.
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    resample: int = int(Image.Resampling.BICUBIC)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @classmethod
    def from_file(cls, path: Path) -> Preprocessor:
        """Read a `preprocessor_config.json`; `CheckpointError` when it is missing or has another form."""
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise CheckpointError(f"{path}: not valid JSON ({error})") from error
        try:
            return cls._from_config(config)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a CLIP image processor ({error!r})") from error

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Preprocessor:
        if abs(config.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
            raise ValueError("rescale_factor other than 1/255")
        normalise = config.get("do_normalize", True)
        return cls(
            resize=_resize(config["size"]) if config.get("do_resize", True) else None,
            crop=_crop(config["crop_size"]) if config.get("do_center_crop", True) else None,
            resample=int(config.get("resample", Image.Resampling.BICUBIC)),
            mean=_triple(config["image_mean"]) if normalise else (0.0, 0.0, 0.0),
            std=_triple(config["image_std"]) if normalise else (1.0, 1.0, 1.0),
        )

    def to_config(self) -> dict[str, Any]:
        """Return the same settings as a `preprocessor_config.json`."""
        if isinstance(self.resize, int):
            size: dict[str, int] | None = {"shortest_edge": self.resize}
        else:
            size = _height_width(self.resize)
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": self.resize is not None,
            "size": size,
            "resample": self.resample,
            "do_center_crop": self.crop is not None,
            "crop_size": _height_width(self.crop),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def apply(self, image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return one image as uint8 `[3, H, W]`, resized and cropped."""
        image = image.convert("RGB")
        if (size := self._target_size(image)) is not None and size != image.size:
            image = image.resize(size, Image.Resampling(self.resample))
        if self.crop is not None:
            image = _centre_crop(image, self.crop)
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)

    def _target_size(self, image: Image.Image) -> tuple[int, int] | None:
        if self.resize is None:
            return None
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        width, height = image.size
        short, long = min(width, height), max(width, height)
        other = int(self.resize * long / short)
        return (self.resize, other) if width <= height else (other, self.resize)


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _resize(size: dict[str, int] | int) -> tuple[int, int] | int:
    if isinstance(size, int):
        return size
    return int(size["shortest_edge"]) if "shortest_edge" in size else _crop(size)


def _crop(size: dict[str, int] | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))


def _height_width(size: tuple[int, int] | None) -> dict[str, int] | None:
    return None if size is None else {"height": size[0], "width": size[1]}


def _centre_crop(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    height, width = crop
    top, left = (image.height - height) // 2, (image.width - width) // 2
    if top < 0 or left < 0:
        raise DataError(f"an image of {image.width}x{image.height} is smaller than the crop {width}x{height}")
    return image.crop((left, top, left + width, top + height))


def prepare(images: Images, preprocessor: Preprocessor, label: str = "images") -> Tensor:
    """Return images as the encoder's pixels, decoding each file at most once ever.

    Args:
        images: `N` images.
        preprocessor: How to resize and crop.
        label: What the images are, for the progress display.

    Returns:
        uint8 `[N, 3, H, W]`.

    Raises:
        DataError: An image cannot be decoded or is smaller than the crop.
    """
    if isinstance(images, ArrayImages) and _is_ready(images, preprocessor):
        return torch.from_numpy(np.ascontiguousarray(images.pixels.transpose(0, 3, 1, 2)))
    configuration = {"images": images.fingerprint(), "preprocessor": asdict(preprocessor)}

    def make(folder: Path) -> None:
        rows = [
            _decode(images, index, preprocessor) for index in track(range(len(images)), f"decode {label}")
        ]
        save_file({"pixels": torch.from_numpy(np.stack(rows))}, folder / "pixels.safetensors")

    return load_file(artefact("pixels", configuration, make) / "pixels.safetensors")["pixels"]


def _is_ready(images: ArrayImages, preprocessor: Preprocessor) -> bool:
    """Whether preprocessing would change nothing, because the array already has the encoder's size."""
    height, width = images.pixels.shape[1:3]
    exact = preprocessor.resize in ((height, width), height) if height == width else False
    return exact and preprocessor.crop in (None, (height, width))


def _decode(images: Images, index: int, preprocessor: Preprocessor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        return preprocessor.apply(images.decode(index))
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"image {index}: cannot be decoded ({error})") from error
