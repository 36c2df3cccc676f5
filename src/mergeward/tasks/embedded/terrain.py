"""Land and water seen from above."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mergeward.images import Pixels
from mergeward.tasks.embedded.scene import (
    CANVAS,
    Colour,
    Drawing,
    Random,
    blend,
    colour,
    finish,
    smooth_noise,
    vary,
)


def _ground(random: Random, nuisance: float, tone: Colour | None = None, contrast: float = 26) -> Image.Image:
    """A mottled ground of grass, soil or `tone`."""
    base = tone or vary(GROUNDS[int(random.integers(len(GROUNDS)))], random, 14 + 22 * nuisance)
    other = vary(base, random, contrast)
    return blend(base, other, smooth_noise(random, int(random.integers(4, 10))))


GROUNDS: tuple[Colour, ...] = ((98, 122, 66), (142, 126, 88), (118, 132, 82), (108, 98, 72))
WATER: Colour = (44, 78, 112)


def _wander(random: Random, bend: float) -> list[tuple[float, float]]:
    """A path across the canvas that bends."""
    along = np.linspace(-6, CANVAS + 6, 12)
    across = (
        CANVAS / 2
        + random.uniform(-12, 12)
        + bend * np.sin(along / CANVAS * random.uniform(3, 6) + random.uniform(0, 6))
    )
    turned = random.random() < 0.5
    first, second = (across, along) if turned else (along, across)
    return [(float(x), float(y)) for x, y in zip(first, second, strict=True)]


def _river(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance)
    path, width = _wander(random, random.uniform(8, 14)), int(random.integers(7, 13))
    draw = ImageDraw.Draw(image)
    draw.line(path, fill=vary((150, 140, 104), random, 20), width=width + 4, joint="curve")
    draw.line(path, fill=vary(WATER, random, 24), width=width, joint="curve")
    return image


def _highway(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance)
    path, width = _wander(random, random.uniform(0, 3)), int(random.integers(9, 14))
    draw = ImageDraw.Draw(image)
    draw.line(path, fill=vary((128, 128, 130), random, 18), width=width, joint="curve")
    draw.line(path, fill=(226, 224, 206), width=2, joint="curve")
    return image


def _forest(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance, vary((38, 66, 34), random, 14))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(70, 110))):
        x, y, reach = random.uniform(0, CANVAS), random.uniform(0, CANVAS), random.uniform(2, 5)
        draw.ellipse([x - reach, y - reach, x + reach, y + reach], fill=vary((44, 84, 40), random, 22))
    return image


def _crops(random: Random, nuisance: float) -> Image.Image:
    image = Image.new("RGB", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    split = int(random.integers(20, 44))
    for box in ((0, 0, split, CANVAS), (split, 0, CANVAS, CANVAS)):
        base = colour(random.uniform(0.12, 0.3), random.uniform(0.35, 0.6), random.uniform(0.25, 0.5))
        draw.rectangle(box, fill=base)
        pitch, upright = int(random.integers(4, 7)), random.random() < 0.5
        for offset in range(0, CANVAS, pitch):
            x = box[0] + offset
            furrow = [(x, 0), (x, CANVAS)] if upright else [(box[0], offset), (box[2], offset)]
            if furrow[0][0] < box[2]:
                draw.line(furrow, fill=vary(base, random, 40), width=2)
    angle = random.uniform(-20, 20) * nuisance
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(112, 118, 70))


def _houses(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance, vary((122, 132, 96), random, 16))
    draw = ImageDraw.Draw(image)
    pitch = int(random.integers(13, 17))
    start = random.integers(-6, 2, 2)
    for x in range(int(start[0]), CANVAS, pitch):
        draw.line([(x - 3, 0), (x - 3, CANVAS)], fill=(150, 150, 148), width=2)
        for y in range(int(start[1]), CANVAS, pitch):
            size = random.uniform(6, 9, 2)
            draw.rectangle([x, y, x + size[0], y + size[1]], fill=vary((168, 92, 72), random, 34))
    return image


def _factories(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance, vary((140, 138, 130), random, 14), 18)
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 6))):
        x, y = random.uniform(-4, 44, 2)
        size = random.uniform(14, 30, 2)
        draw.rectangle([x + 2, y + 2, x + size[0] + 2, y + size[1] + 2], fill=(70, 70, 70))
        draw.rectangle([x, y, x + size[0], y + size[1]], fill=vary((196, 198, 204), random, 30))
    return image


def _lake(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance)
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    reach = random.uniform(13, 22) * (1 + 0.22 * random.normal(size=18))
    centre = random.uniform(24, 40, 2)
    rim = [
        (float(centre[0] + r * np.cos(angle)), float(centre[1] + r * np.sin(angle)))
        for r, angle in zip(reach, angles, strict=True)
    ]
    ImageDraw.Draw(image).polygon(rim, fill=vary(WATER, random, 24))
    return image


def _sea(random: Random, nuisance: float) -> Image.Image:
    swell = np.sin(np.linspace(0, random.uniform(20, 40), CANVAS))[:, None]
    waves = 0.5 + 0.5 * swell * smooth_noise(random, 6)
    deep = vary(WATER, random, 20)
    return blend(deep, vary(deep, random, 30), waves)


def _desert(random: Random, nuisance: float) -> Image.Image:
    ramp = np.linspace(0, 1, CANVAS)
    crest = ramp[:, None] * random.uniform(3, 6) + random.uniform(0.5, 2) * ramp[None, :]
    crest = crest + smooth_noise(random, 4)
    sand = vary((206, 170, 112), random, 20)
    return blend(sand, vary((160, 118, 70), random, 16), (crest % 1) ** 2)


def _orchard(random: Random, nuisance: float) -> Image.Image:
    image = _ground(random, nuisance, vary((152, 142, 96), random, 18))
    draw = ImageDraw.Draw(image)
    pitch = random.uniform(9, 12)
    start = random.uniform(0, pitch, 2)
    for x in np.arange(start[0], CANVAS, pitch):
        for y in np.arange(start[1], CANVAS, pitch):
            reach = random.uniform(2.6, 3.6)
            draw.ellipse([x - reach, y - reach, x + reach, y + reach], fill=vary((58, 96, 44), random, 20))
    return image


SCENES = {
    "river": _river,
    "highway": _highway,
    "forest": _forest,
    "crop fields": _crops,
    "residential houses": _houses,
    "industrial buildings": _factories,
    "lake": _lake,
    "open sea": _sea,
    "desert dunes": _desert,
    "orchard": _orchard,
}
NAMES = tuple(SCENES)


def draw_terrain(label: int, random: Random, nuisance: float, _purpose: str) -> Pixels:
    """Draw one tile of land or water."""
    return finish(SCENES[NAMES[label]](random, nuisance), random, nuisance)


DRAWING = Drawing(
    name="terrain",
    class_names=NAMES,
    summary="land and water seen from above",
    draw=draw_terrain,
    templates=("a satellite photo of {}.", "an aerial image of {}.", "{}"),
    nuisance=2.0,
)
