"""Plane figures in any colour, place, size and turn, on a cluttered ground."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mergeward.images import Pixels
from mergeward.tasks.embedded.scene import (
    CANVAS,
    Drawing,
    Point,
    Random,
    clutter,
    finish,
    palette,
    placed,
    regular,
)


def _star() -> list[Point]:
    outer, inner = regular(5), regular(5, -np.pi / 2 + np.pi / 5)
    dents = [(0.42 * x, 0.42 * y) for x, y in inner]
    return [point for pair in zip(outer, dents, strict=True) for point in pair]


def _heart() -> list[Point]:
    angles = np.linspace(0, 2 * np.pi, 40)
    x = 16 * np.sin(angles) ** 3
    y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return [(float(a) / 16, -float(b) / 16) for a, b in zip(x, y, strict=True)]


def _crescent() -> list[Point]:
    outer = np.linspace(0.3 * np.pi, 1.7 * np.pi, 24)
    inner = outer[::-1]
    rim = [(float(np.cos(angle)), float(np.sin(angle))) for angle in outer]
    bite = [(float(0.78 * np.cos(angle) + 0.34), float(0.78 * np.sin(angle))) for angle in inner]
    return rim + bite


def _cross() -> list[Point]:
    arm = 0.33
    quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
    turns = [(quarter, 1, 0), (quarter, 0, 1), (quarter, -1, 0), (quarter, 0, -1)]
    return [(x * c - y * s, x * s + y * c) for points, c, s in turns for x, y in points]


ARROW: list[Point] = [
    (-1, -0.28),
    (0.15, -0.28),
    (0.15, -0.75),
    (1, 0),
    (0.15, 0.75),
    (0.15, 0.28),
    (-1, 0.28),
]

OUTLINES: dict[str, list[Point]] = {
    "circle": regular(40),
    "square": regular(4, np.pi / 4),
    "triangle": regular(3),
    "star": _star(),
    "cross": _cross(),
    "ring": regular(40),
    "crescent": _crescent(),
    "heart": _heart(),
    "arrow": ARROW,
    "hexagon": regular(6),
}
NAMES = tuple(OUTLINES)


def draw_shape(label: int, random: Random, nuisance: float, _purpose: str) -> Pixels:
    """Draw one figure."""
    front, back = palette(random, nuisance)
    image = Image.new("RGB", (CANVAS, CANVAS), back)
    draw = ImageDraw.Draw(image)
    clutter(draw, random, nuisance)
    radius = random.uniform(22 - 9 * nuisance, 25)
    slack = CANVAS / 2 - radius
    centre = (CANVAS / 2 + random.uniform(-slack, slack), CANVAS / 2 + random.uniform(-slack, slack))
    angle = random.uniform(-np.pi, np.pi) * nuisance
    squeeze = 1 - random.uniform(0, 0.35) * nuisance
    points = placed(OUTLINES[NAMES[label]], centre, radius, angle, squeeze)
    draw.polygon(points, fill=front)
    if NAMES[label] == "ring":
        draw.polygon(placed(regular(40), centre, 0.58 * radius, angle, squeeze), fill=back)
    return finish(image, random, nuisance)


DRAWING = Drawing(
    name="shapes",
    class_names=NAMES,
    summary="plane figures in any colour, place, size and turn",
    draw=draw_shape,
    templates=("a drawing of a {}.", "a {} shape.", "{}"),
    nuisance=0.6,
)
