"""What the drawn tasks share: a small canvas, contrasting colours, and the nuisances of real pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from mergeward.images import Pixels

SIZE = 32
"""Side of a finished picture, in pixels."""
CANVAS = 64
"""Side of the canvas that is drawn on before it is scaled down."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
Random = np.random.Generator


@dataclass(frozen=True)
class Drawing:
    """A task that the package draws.

    Attributes:
        name: The task's name.
        class_names: In label order.
        summary: What the pictures show.
        draw: `(label, random, nuisance, purpose) -> uint8 [32, 32, 3]`; `nuisance` goes from 0 (plain)
            upwards, `purpose` is a split or `pretrain`, for tasks made from originals that splits must not
            share.
        templates: Sentences for the zero-shot head.
        nuisance: How strong the nuisances are in the task itself; chosen so that the base's zero-shot answers
            leave room for fine-tuning.
    """

    name: str
    class_names: tuple[str, ...]
    summary: str
    draw: Callable[[int, Random, float, str], Pixels]
    templates: tuple[str, ...]
    nuisance: float = 1.0


def palette(random: Random, nuisance: float) -> tuple[Colour, Colour]:
    """Return a foreground and a background colour that differ in lightness."""
    light, dark = random.uniform(0.62, 0.95), random.uniform(0.08, 0.34)
    if random.random() < 0.5 * nuisance + 0.25:
        light, dark = dark, light
    saturation = random.uniform(0.1, 0.35 + 0.6 * nuisance, 2)
    hues = random.random(2)
    return colour(hues[0], light, saturation[0]), colour(hues[1], dark, saturation[1])


def colour(hue: float, lightness: float, saturation: float) -> Colour:
    """Return an RGB colour from hue, lightness and saturation in [0, 1]."""
    red, green, blue = colorsys.hls_to_rgb(float(hue), float(lightness), float(saturation))
    return round(255 * red), round(255 * green), round(255 * blue)


def vary(base: Colour, random: Random, amount: float) -> Colour:
    """Return a colour near `base`; `amount` is the largest change of a channel."""
    red, green, blue = (int(np.clip(value + random.uniform(-amount, amount), 0, 255)) for value in base)
    return red, green, blue


def placed(
    points: Sequence[Point], centre: Point, radius: float, angle: float, squeeze: float = 1.0
) -> list[Point]:
    """Move points of the unit square [-1, 1]^2 to the canvas: scaled, squeezed in height, turned, shifted."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return [
        (
            centre[0] + radius * (cosine * x - sine * y * squeeze),
            centre[1] + radius * (sine * x + cosine * y * squeeze),
        )
        for x, y in points
    ]


def regular(corners: int, turn: float = -np.pi / 2) -> list[Point]:
    """Return the corners of a regular polygon in the unit circle, the first at the top."""
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    return [(float(np.cos(angle)), float(np.sin(angle))) for angle in angles]


def clutter(draw: ImageDraw.ImageDraw, random: Random, nuisance: float, most: int = 5) -> None:
    """Scatter thin lines and small dots that belong to no class."""
    for _ in range(int(random.integers(0, round(most * nuisance) + 1))):
        tone = colour(random.random(), random.uniform(0.2, 0.8), random.uniform(0.1, 0.8))
        x, y = random.uniform(0, CANVAS, 2)
        dx, dy = random.uniform(-18, 18, 2)
        if random.random() < 0.5:
            draw.line([(x, y), (x + dx, y + dy)], fill=tone, width=2)
        else:
            reach = random.uniform(1.5, 3.5)
            draw.ellipse([x - reach, y - reach, x + reach, y + reach], fill=tone)


def smooth_noise(random: Random, cells: int) -> npt.NDArray[np.float64]:
    """Return noise in [0, 1] of `[CANVAS, CANVAS]` that varies over about `CANVAS / cells` pixels."""
    coarse = Image.fromarray((random.random((cells + 1, cells + 1)) * 255).astype(np.uint8))
    fine = np.asarray(coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), dtype=np.float64)
    scaled: npt.NDArray[np.float64] = (fine - fine.min()) / (np.ptp(fine) + 1e-9)
    return scaled


def blend(first: Colour, second: Colour, share: npt.NDArray[np.float64]) -> Image.Image:
    """Return a picture that goes from `first` (share 0) to `second` (share 1), pixel by pixel."""
    mixed = np.asarray(first) * (1 - share[..., None]) + np.asarray(second) * share[..., None]
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def finish(image: Image.Image, random: Random, nuisance: float) -> Pixels:
    """Scale the canvas down and add uneven light, blur and sensor noise.

    Returns:
        uint8 `[SIZE, SIZE, 3]`.
    """
    if random.random() < 0.4 * nuisance:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.6)))
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    pixels: npt.NDArray[np.float64] = np.asarray(small, dtype=np.float64)
    slope = random.uniform(-0.35, 0.35, 2) * nuisance
    ramp = np.linspace(-1, 1, SIZE)
    light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :] + random.uniform(-0.2, 0.2) * nuisance
    noise = random.normal(0, 1, pixels.shape) * random.uniform(1, 4 + 18 * nuisance)
    lit: npt.NDArray[np.float64] = np.clip(pixels * light[..., None] + noise, 0, 255)
    return lit.round().astype(np.uint8)
