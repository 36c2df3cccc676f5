"""Regular and irregular surface patterns, turned, scaled and coloured at will."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mergeward.images import Pixels
from mergeward.tasks.embedded.scene import CANVAS, Drawing, Random, blend, finish, palette, smooth_noise

Field = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _striped(u: Field, v: Field, random: Random) -> Mask:
    return np.sin(2 * np.pi * u) > random.uniform(-0.4, 0.4)


def _chequered(u: Field, v: Field, random: Random) -> Field:
    return (np.floor(u) + np.floor(v)) % 2


def _dotted(u: Field, v: Field, random: Random) -> Mask:
    return np.hypot(u % 1 - 0.5, v % 1 - 0.5) < random.uniform(0.22, 0.36)


def _gridded(u: Field, v: Field, random: Random) -> Mask:
    line = random.uniform(0.16, 0.28)
    return (u % 1 < line) | (v % 1 < line)


def _zigzag(u: Field, v: Field, random: Random) -> Mask:
    return (u + np.abs(v % 2 - 1) * random.uniform(0.8, 1.3)) % 1 < 0.5


def _wavy(u: Field, v: Field, random: Random) -> Mask:
    return np.sin(2 * np.pi * u + random.uniform(1.2, 2.4) * np.sin(np.pi * v)) > 0


def _bricked(u: Field, v: Field, random: Random) -> Mask:
    row = np.floor(v)
    return ((u / 2 + 0.5 * (row % 2)) % 1 < 0.09) | (v % 1 < 0.2)


def _concentric(u: Field, v: Field, random: Random) -> Mask:
    centre = random.uniform(-1, 1, 2)
    distance: Field = np.hypot(u - centre[0], v - centre[1])
    return distance % 1 < 0.5


def _speckled(u: Field, v: Field, random: Random) -> Mask:
    return smooth_noise(random, int(random.integers(20, 30))) > random.uniform(0.55, 0.68)


def _marbled(u: Field, v: Field, random: Random) -> Field:
    veins = np.abs(np.sin(2 * np.pi * (0.35 * u + 2.2 * smooth_noise(random, 5))))
    return veins ** random.uniform(0.6, 1.4)


PATTERNS = {
    "striped": _striped,
    "chequered": _chequered,
    "dotted": _dotted,
    "gridded": _gridded,
    "zigzag": _zigzag,
    "wavy": _wavy,
    "bricked": _bricked,
    "concentric": _concentric,
    "speckled": _speckled,
    "marbled": _marbled,
}
NAMES = tuple(PATTERNS)


def draw_texture(label: int, random: Random, nuisance: float, _purpose: str) -> Pixels:
    """Draw one patch of a pattern."""
    front, back = palette(random, nuisance)
    ramp = np.linspace(-1, 1, CANVAS)
    x, y = np.meshgrid(ramp, ramp)
    angle = random.uniform(-np.pi, np.pi) * nuisance
    scale = random.uniform(2.4 - 0.4 * nuisance, 2.8 + 0.8 * nuisance)
    bend = 0.5 * nuisance * (smooth_noise(random, 3) - 0.5)
    u = scale * (np.cos(angle) * x - np.sin(angle) * y + bend) + random.uniform(0, 1)
    v = scale * (np.sin(angle) * x + np.cos(angle) * y + bend.T) + random.uniform(0, 1)
    share = PATTERNS[NAMES[label]](u, v, random).astype(np.float64)
    share = np.clip(share + 0.5 * nuisance * (smooth_noise(random, 8) - 0.5), 0, 1)
    return finish(blend(back, front, share), random, nuisance)


DRAWING = Drawing(
    name="textures",
    class_names=tuple(f"{name} texture" for name in NAMES),
    summary="surface patterns, turned, scaled and coloured at will",
    draw=draw_texture,
    templates=("a photo of a {}.", "a close-up of a {}.", "{}"),
    nuisance=0.55,
)
