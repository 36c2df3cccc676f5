"""Capital letters in three typefaces, tilted, slanted and half covered."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from mergeward.images import Pixels
from mergeward.tasks.embedded.scene import CANVAS, Drawing, Random, clutter, finish, palette

LETTERS = "ABEGHKMRSX"
FONTS = ("DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono")


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    source = files("mergeward.tasks.embedded") / "data" / f"{name}-capitals.ttf"
    return ImageFont.truetype(BytesIO(source.read_bytes()), size)


def draw_letter(label: int, random: Random, nuisance: float, _purpose: str) -> Pixels:
    """Draw one letter."""
    front, back = palette(random, nuisance)
    size = int(random.integers(round(50 - 14 * nuisance), 58))
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    place = (CANVAS / 2 + random.uniform(-7, 7) * nuisance, CANVAS / 2 + random.uniform(-7, 7) * nuisance)
    font = _font(FONTS[int(random.integers(len(FONTS)))], size)
    ImageDraw.Draw(mask).text(place, LETTERS[label], fill=255, font=font, anchor="mm")
    slant = random.uniform(-0.45, 0.45) * nuisance
    mask = mask.transform(
        mask.size, Image.Transform.AFFINE, (1, slant, -slant * CANVAS / 2, 0, 1, 0), Image.Resampling.BICUBIC
    )
    mask = mask.rotate(random.uniform(-32, 32) * nuisance, Image.Resampling.BICUBIC)
    image = Image.new("RGB", (CANVAS, CANVAS), back)
    clutter(ImageDraw.Draw(image), random, nuisance)
    image.paste(Image.new("RGB", image.size, front), mask=mask)
    clutter(ImageDraw.Draw(image), random, nuisance, most=3)
    return finish(image, random, nuisance)


DRAWING = Drawing(
    name="letters",
    class_names=tuple(f"capital letter {letter}" for letter in LETTERS),
    summary="capital letters in three typefaces, tilted, slanted and half covered",
    draw=draw_letter,
    templates=("a photo of the {}.", "the {}.", "{}"),
    nuisance=0.85,
)
