"""Geometry of the dot charts: where each mark of the inline SVG goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeward.bench.results import Results, Row
from mergeward.report import reading
from mergeward.report.words import NO_ATTACK, label, percent

WIDTH = 400
PLOT_LEFT = 118
PLOT_RIGHT = 350
TOP = 6
ROW_HEIGHT = 27
AXIS_HEIGHT = 24
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Dot:
    """One method in one panel; all positions are in SVG units.

    Attributes:
        name: Method, as shown.
        text: Value, as shown.
        y: Middle of its row.
        x: The attacked merge.
        control_x: The clean merge by the same method.
        low_x: Lower end of the interval; None where there is none.
        high_x: Upper end.
    """

    name: str
    text: str
    y: float
    x: float
    control_x: float
    low_x: float | None = None
    high_x: float | None = None


@dataclass(frozen=True)
class Panel:
    """One measure under one attack.

    Attributes:
        kind: `accuracy` or `success`.
        title: Heading.
        description: What it shows, for those who do not see it.
        dots: One for each method.
        height: Of the whole picture, in SVG units.
    """

    kind: str
    title: str
    description: str
    dots: tuple[Dot, ...]
    height: float


@dataclass(frozen=True)
class Chart:
    """The panels of one attack.

    Attributes:
        title: The attack, as shown.
        panels: Accuracy, then attack success.
    """

    title: str
    panels: tuple[Panel, Panel]


def position(rate: float) -> float:
    """Return the horizontal position of a rate between 0 and 1, in SVG units."""
    return round(PLOT_LEFT + rate * (PLOT_RIGHT - PLOT_LEFT), 1)


def ticks() -> tuple[tuple[float, str], ...]:
    """Return the positions and labels of the axis."""
    return tuple((position(tick), f"{100 * tick:.0f}") for tick in TICKS)


def charts(results: Results) -> tuple[Chart, ...]:
    """Return one chart for each attack."""
    return tuple(
        Chart(label(attack), (_accuracy(attack, rows, results), _success(attack, rows, results)))
        for attack, rows in reading.groups(results)
        if attack != NO_ATTACK
    )


def _accuracy(attack: str, rows: Sequence[Row], results: Results) -> Panel:
    clean = results.controls.clean_merge
    dots = tuple(
        Dot(
            label(row.method),
            percent(row.accuracy),
            _middle(index),
            position(row.accuracy),
            position(clean[row.method].accuracy),
        )
        for index, row in enumerate(rows)
    )
    return _panel("accuracy", "mean accuracy, %", attack, dots)


def _success(attack: str, rows: Sequence[Row], results: Results) -> Panel:
    dots = tuple(
        Dot(
            label(row.method),
            percent(row.asr),
            _middle(index),
            position(row.asr),
            position(results.controls.clean_merge[row.method].asr[attack]["asr"]),
            position(row.asr_low),
            position(row.asr_high),
        )
        for index, row in enumerate(rows)
    )
    return _panel("success", "attack success, %", attack, dots)


def _panel(kind: str, title: str, attack: str, dots: tuple[Dot, ...]) -> Panel:
    values = "; ".join(f"{dot.name} {dot.text}" for dot in dots)
    description = f"Dot chart: {title}, of merges with a {label(attack)} contribution. {values}."
    return Panel(kind, title, description, dots, TOP + len(dots) * ROW_HEIGHT + AXIS_HEIGHT)


def _middle(index: int) -> float:
    return TOP + (index + 0.5) * ROW_HEIGHT
