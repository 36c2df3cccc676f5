"""Images as the checkpoint wants them: resized and cropped once, kept as uint8 pixels.

The numbers equal those of the Pillow-based `transformers.CLIPImageProcessor` up to its own rounding. What it
does after the crop (rescale to [0, 1], normalise) is part of the encoder here, because triggers and
perturbations live in [0, 1] pixel space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from mergeward.cache import artefact
from mergeward.checkpoint.files import contained, read_json_object
from mergeward.errors import CheckpointError, DataError
from mergeward.images import MAX_PIXELS, ArrayImages, Images, Pixels, to_rgb
from mergeward.output import system_errors
from mergeward.progress import track

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SIZE = 224
"""What transformers' `CLIPImageProcessor` takes for a size that is not given."""


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
    def from_folder(cls, folder: Path) -> Preprocessor:
        """Read the settings of a model in Hugging Face layout.

        They are the `image_processor` entry of `processor_config.json`, else `preprocessor_config.json`.

        Raises:
            CheckpointError: The file is missing, or is not that of a CLIP image processor whose images are
                all of one size.
        """
        path = contained(folder, "processor_config.json")
        config = read_json_object(path).get("image_processor") if path.is_file() else None
        if config is None:
            path = contained(folder, "preprocessor_config.json")
            config = read_json_object(path)
        try:
            return cls.from_config(config)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a CLIP image processor ({error!r})") from error

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """Read the content of a `preprocessor_config.json`, not to be trusted.

        Raises:
            AttributeError: It is no mapping, or something in it is not.
            KeyError: An entry is missing.
            TypeError: An entry is of another type.
            ValueError: An entry has a value that no CLIP image processor has.
        """
        if not config.get("do_rescale", True) or abs(config.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
            raise ValueError("do_rescale must be true and rescale_factor 1/255")
        normalise = config.get("do_normalize", True)
        made = cls(
            resize=_resize(config.get("size", SIZE)) if config.get("do_resize", True) else None,
            crop=_crop(config.get("crop_size", SIZE)) if config.get("do_center_crop", True) else None,
            resample=int(Image.Resampling(config.get("resample", Image.Resampling.BICUBIC))),
            mean=_triple(config.get("image_mean", CLIP_MEAN)) if normalise else (0.0, 0.0, 0.0),
            std=_triple(config.get("image_std", CLIP_STD)) if normalise else (1.0, 1.0, 1.0),
        )
        if made.output_size is None:
            raise ValueError("neither crop_size nor a size of height and width: images of any size")
        if min(*made.output_size, *made.std) <= 0 or (isinstance(made.resize, int) and made.resize <= 0):
            raise ValueError("sizes and standard deviations must be positive")
        return made

    @property
    def output_size(self) -> tuple[int, int] | None:
        """`(height, width)` of every image it makes; None when that depends on the image."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    @property
    def geometry(self) -> str:
        """Resize and crop in words: what decides which pixels an image gives, normalisation left out."""
        steps = []
        kind = Image.Resampling(self.resample).name.lower()
        if isinstance(self.resize, int):
            steps.append(f"{kind} resize of the shortest edge to {self.resize}")
        elif self.resize is not None:
            steps.append(f"{kind} resize to {self.resize[0]}x{self.resize[1]}")
        if self.crop is not None:
            steps.append(f"crop to {self.crop[0]}x{self.crop[1]}")
        return ", ".join(steps)

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

    def apply(self, image: Image.Image) -> Pixels:
        """Return one image as uint8 `[3, H, W]`, resized and cropped.

        Raises:
            DataError: The image is so thin that it would be resized to more than `MAX_PIXELS` pixels.
        """
        image = to_rgb(image)
        width, height = self._resized(*image.size)
        if width * height > MAX_PIXELS:
            raise DataError(f"an image of {image.width}x{image.height} would be resized to {width}x{height}")
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling(self.resample))
        if self.crop is not None:
            image = _centre_crop(image, self.crop)
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)

    def keeps(self, width: int, height: int) -> bool:
        """Whether it changes nothing about RGB images of this size."""
        return self._resized(width, height) == (width, height) and self.crop in {None, (height, width)}

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after the resize."""
        if self.resize is None:
            return width, height
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        other = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, other) if width <= height else (other, self.resize)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _resize(size: Mapping[str, int] | int) -> tuple[int, int] | int:
    """A whole number is the shortest edge, as older configurations have it."""
    if isinstance(size, int):
        return size
    if size.keys() == {"shortest_edge"}:
        return int(size["shortest_edge"])
    return _crop(size)


def _crop(size: Mapping[str, int] | int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if size.keys() != {"height", "width"}:
        raise ValueError(f"size by {', '.join(size)}")
    return int(size["height"]), int(size["width"])


def _height_width(size: tuple[int, int] | None) -> dict[str, int] | None:
    return None if size is None else {"height": size[0], "width": size[1]}


def _centre_crop(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    """Cut out the middle; what lies outside a smaller image is black."""
    height, width = crop
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def prepare(images: Images, preprocessor: Preprocessor, label: str = "images") -> Tensor:
    """Return images as the encoder's pixels, decoding each file at most once ever.

    Args:
        images: `N` images.
        preprocessor: How to resize and crop; its images are all of one size.
        label: What the images are, for the progress display and for errors.

    Returns:
        uint8 `[N, 3, H, W]`.

    Raises:
        DataError: An image cannot be decoded.
    """
    if isinstance(images, ArrayImages) and preprocessor.keeps(*images.pixels.shape[2:0:-1]):
        return torch.from_numpy(np.ascontiguousarray(images.pixels.transpose(0, 3, 1, 2)))
    configuration = {
        "images": images.fingerprint(),
        "resize": preprocessor.resize,
        "crop": preprocessor.crop,
        "resample": preprocessor.resample,
        "pillow": PIL.__version__,
    }

    def make(folder: Path) -> None:
        pixels = _decode_all(images, preprocessor, label)
        with system_errors():
            save_file({"pixels": pixels}, folder / "pixels.safetensors")

    return load_file(artefact("pixels", configuration, make) / "pixels.safetensors")["pixels"]


def _decode_all(images: Images, preprocessor: Preprocessor, label: str) -> Tensor:
    if preprocessor.output_size is None:
        raise DataError(f"{label}: the preprocessor makes images of any size; they cannot be joined")
    pixels = torch.empty(len(images), 3, *preprocessor.output_size, dtype=torch.uint8)
    for index in track(range(len(images)), f"decode {label}"):
        image = images.decode(index)
        try:
            pixels[index] = torch.tensor(preprocessor.apply(image))
        except DataError as error:
            raise DataError(f"{label}, image {index}: {error}") from error
    return pixels
