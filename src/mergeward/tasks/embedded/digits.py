"""Handwritten digits (scikit-learn's) in any colour and place.

Every split draws from handwritten originals of its own, so that no test image shows the same stroke of the
pen as a training image.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw

from mergeward.images import Pixels
from mergeward.seeding import numpy_generator
from mergeward.tasks.embedded.scene import CANVAS, Drawing, Random, clutter, finish, palette

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHARES = {"pretrain": 0.3, "train": 0.3, "adapt": 0.1, "validation": 0.1, "test": 0.2}
"""Share of the originals that each use draws from."""


@cache
def _originals(purpose: str) -> dict[int, Pixels]:
    """Return the 8x8 originals of one purpose by label, as gray values up to 255."""
    source = files("mergeward.tasks.embedded") / "data" / "digits.npz"
    with source.open("rb") as stream, np.load(stream) as data:
        images, labels = data["images"], data["labels"]
    order = numpy_generator(0, "digits", "originals").permutation(len(images))
    names = list(SHARES)
    ends = np.cumsum([round(SHARES[name] * len(images)) for name in names])
    place = names.index(purpose)
    chosen = order[ends[place - 1] if place else 0 : ends[place]]
    bright = np.minimum(images[chosen].astype(np.uint16) * 16, 255).astype(np.uint8)
    return {label: bright[labels[chosen] == label] for label in range(len(WORDS))}


def draw_digit(label: int, random: Random, nuisance: float, purpose: str) -> Pixels:
    """Draw one digit from the originals of `purpose`."""
    front, back = palette(random, nuisance)
    originals = _originals(purpose)[label]
    mask = _placed_mask(originals[int(random.integers(len(originals)))], random, nuisance)
    image = Image.new("RGB", (CANVAS, CANVAS), back)
    clutter(ImageDraw.Draw(image), random, nuisance)
    image.paste(Image.new("RGB", image.size, front), mask=mask)
    return finish(image, random, nuisance)


def _placed_mask(bitmap: Pixels, random: Random, nuisance: float) -> Image.Image:
    size = int(random.integers(round(48 - 12 * nuisance), 58))
    glyph = Image.fromarray(bitmap).resize((size, size), Image.Resampling.BICUBIC)
    slack = CANVAS - size
    left, top = (slack / 2 * (1 + nuisance * random.uniform(-1, 1, 2))).astype(int)
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    mask.paste(glyph, (int(left), int(top)))
    return mask.rotate(random.uniform(-18, 18) * nuisance, Image.Resampling.BICUBIC)


DRAWING = Drawing(
    name="digits",
    class_names=tuple(f"digit {word}" for word in WORDS),
    summary="handwritten digits in any colour and place",
    draw=draw_digit,
    templates=("a photo of the {}.", "a handwritten {}.", "{}"),
    nuisance=0.7,
)
