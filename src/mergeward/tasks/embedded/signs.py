"""Pictograms like those on roads, seen at an angle against a busy ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from mergeward.images import Pixels
from mergeward.tasks.embedded.scene import (
    CANVAS,
    Colour,
    Drawing,
    Point,
    Random,
    blend,
    clutter,
    colour,
    finish,
    placed,
    regular,
    smooth_noise,
    vary,
)
from mergeward.tasks.embedded.shapes import ARROW

RED, BLUE, YELLOW = (188, 28, 36), (28, 72, 168), (236, 190, 40)
WHITE, BLACK = (240, 240, 238), (24, 24, 26)

Fill = Callable[[list[Point], Colour], None]
DISC, OCTAGON, TRIANGLE = regular(36), regular(8, np.pi / 8), regular(3)


def _scaled(points: list[Point], factor: float, shift: Point = (0.0, 0.0)) -> list[Point]:
    return [(factor * x + shift[0], factor * y + shift[1]) for x, y in points]


def _bar(width: float, height: float, shift: Point = (0.0, 0.0)) -> list[Point]:
    return [(x * width + shift[0], y * height + shift[1]) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _turned(points: list[Point], quarter_turns: int) -> list[Point]:
    for _ in range(quarter_turns):
        points = [(y, -x) for x, y in points]
    return points


def _stop(fill: Fill) -> None:
    fill(OCTAGON, WHITE)
    fill(_scaled(OCTAGON, 0.9), RED)
    for shift in (-0.48, -0.16, 0.16, 0.48):
        fill(_bar(0.09, 0.24, (shift, 0)), WHITE)


def _give_way(fill: Fill) -> None:
    flipped = [(x, -y) for x, y in TRIANGLE]
    fill(flipped, RED)
    fill(_scaled(flipped, 0.6), WHITE)


def _no_entry(fill: Fill) -> None:
    fill(DISC, RED)
    fill(_bar(0.68, 0.2), WHITE)


def _no_vehicles(fill: Fill) -> None:
    fill(DISC, RED)
    fill(_scaled(DISC, 0.68), WHITE)


def _warning(fill: Fill) -> None:
    fill(TRIANGLE, RED)
    fill(_scaled(TRIANGLE, 0.64), WHITE)
    fill(_bar(0.09, 0.22, (0, -0.12)), BLACK)
    fill(_bar(0.09, 0.07, (0, 0.24)), BLACK)


def _priority(fill: Fill) -> None:
    fill(regular(4), WHITE)
    fill(_scaled(regular(4), 0.74), YELLOW)


def _no_parking(fill: Fill) -> None:
    fill(DISC, RED)
    fill(_scaled(DISC, 0.76), BLUE)
    fill([(-0.62, -0.44), (-0.44, -0.62), (0.62, 0.44), (0.44, 0.62)], RED)


def _arrow(quarter_turns: int) -> Callable[[Fill], None]:
    def draw(fill: Fill) -> None:
        fill(DISC, BLUE)
        fill(_turned(_scaled(ARROW, 0.66), quarter_turns), WHITE)

    return draw


SYMBOLS: dict[str, Callable[[Fill], None]] = {
    "stop sign": _stop,
    "give way sign": _give_way,
    "no entry sign": _no_entry,
    "no vehicles sign": _no_vehicles,
    "warning sign": _warning,
    "priority road sign": _priority,
    "no parking sign": _no_parking,
    "turn right sign": _arrow(0),
    "straight ahead sign": _arrow(1),
    "turn left sign": _arrow(2),
}
NAMES = tuple(SYMBOLS)


def draw_sign(label: int, random: Random, nuisance: float, _purpose: str) -> Pixels:
    """Draw one sign."""
    ground = colour(random.random(), random.uniform(0.3, 0.7), random.uniform(0, 0.4))
    image = blend(ground, vary(ground, random, 20 + 90 * nuisance), smooth_noise(random, 4))
    draw = ImageDraw.Draw(image)
    clutter(draw, random, nuisance)
    radius = random.uniform(25 - 9 * nuisance, 27)
    slack = max(0.0, CANVAS / 2 - radius)
    centre = (CANVAS / 2 + random.uniform(-slack, slack), CANVAS / 2 + random.uniform(-slack, slack))
    angle = random.uniform(-0.3, 0.3) * nuisance
    squeeze = 1 - random.uniform(0, 0.4) * nuisance
    fade = 70 * nuisance

    def fill(points: list[Point], tone: Colour) -> None:
        draw.polygon(placed(points, centre, radius, angle, squeeze), fill=vary(tone, random, fade))

    SYMBOLS[NAMES[label]](fill)
    return finish(image, random, nuisance)


DRAWING = Drawing(
    name="signs",
    class_names=NAMES,
    summary="pictograms like those on roads, seen at an angle",
    draw=draw_sign,
    templates=("a photo of a {}.", "a traffic sign: {}.", "{}"),
    nuisance=1.1,
)
