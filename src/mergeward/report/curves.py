"""Curves over what a suite sweeps: attack success and accuracy as a coefficient or a size grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line
from mergeward.bench.variants import ATTACKER_FIELDS
from mergeward.report.words import label, percent

ATTACKED, CLEAN = "attacked merge", "clean merge"

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 388, 14, 256
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


CATEGORIES = {f"attacker.{name}" for name in ATTACKER_FIELDS}
"""Axes whose values are names, though numbers may stand for them."""


@dataclass(frozen=True)
class Mark:
    """One value of what is swept.

    Attributes:
        at: The value.
        place: Where its tick is, from 0 to 1: in proportion to the values.
        rate: The mean over seeds, with its interval.
    """

    at: float
    place: float
    rate: Estimate


@dataclass(frozen=True)
class Curve:
    """What one merge does as the value grows.

    Attributes:
        name: Merge and defense, as shown.
        marks: By value.
        is_control: Whether it is of merges that no attacker touched.
    """

    name: str
    marks: tuple[Mark, ...]
    is_control: bool


@dataclass(frozen=True)
class Plot:
    """One measure over one axis, for one attack.

    Attributes:
        title: The attack, as shown, and where it lies on the other axes.
        axis: What is swept, as shown.
        measure: "attack success" or "accuracy".
        ticks: Places and texts of the values.
        curves: Of attacked merges, each followed by its control.
        description: What it shows, for those who do not see it.
    """

    title: str
    axis: str
    measure: str
    ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]
    description: str


def curves(lines: Sequence[Line]) -> tuple[Plot, ...]:
    """Return, for each attack and each axis with two numbers or more, success and accuracy over it.

    Places of tasks and classes are numbers between which there is nothing: they have no curve.
    """
    attacked = [line for line in lines if line.kind == ATTACKED and line.success is not None]
    axes = dict.fromkeys(axis for line in attacked for axis in line.axes if axis not in CATEGORIES)
    return tuple(plot for axis in axes for plot in _over(axis, attacked, lines))


def across(place: float) -> float:
    """Return the horizontal position of a place between 0 and 1, in SVG units."""
    return round(LEFT + 10 + place * (RIGHT - LEFT - 20), 1)


def up(rate: float) -> float:
    """Return the vertical position of a rate between 0 and 1, in SVG units."""
    return round(BOTTOM - rate * (BOTTOM - TOP), 1)


def _over(axis: str, attacked: Sequence[Line], lines: Sequence[Line]) -> Iterator[Plot]:
    swept = [line for line in attacked if isinstance(line.axes.get(axis), int | float)]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in swept:
        groups.setdefault((line.attack, _elsewhere(line, axis)), []).append(line)
    for (attack, elsewhere), members in groups.items():
        values = sorted({float(line.axes[axis]) for line in members})
        if len(values) > 1:
            title = ", ".join(part for part in (label(attack), elsewhere) if part)
            yield _plot(title, axis, values, _of_success(members, axis))
            yield _plot(title, axis, values, _of_accuracy(members, axis, lines), measure="accuracy")


Rates = dict[tuple[str, bool], dict[float, Estimate]]
"""Rates by value, of each merge and of its control."""


def _of_success(members: Sequence[Line], axis: str) -> Rates:
    found: Rates = {}
    for line in members:
        at = float(line.axes[axis])
        for rate, is_control in ((line.success, False), (line.clean_success, True)):
            if rate is not None:
                found.setdefault((_name(line), is_control), {})[at] = rate
    return found


def _of_accuracy(members: Sequence[Line], axis: str, lines: Sequence[Line]) -> Rates:
    found: Rates = {}
    clean = [line for line in lines if line.kind == CLEAN]
    for line in members:
        at = float(line.axes[axis])
        found.setdefault((_name(line), False), {})[at] = line.accuracy
        for other in clean:
            same = (other.method, other.defense, other.tasks) == (line.method, line.defense, line.tasks)
            if same and all(line.axes.get(key) == value for key, value in other.axes.items()):
                found.setdefault((_name(line), True), {})[at] = other.accuracy
    return found


def _plot(
    title: str, axis: str, values: Sequence[float], rates: Rates, measure: str = "attack success"
) -> Plot:
    low, high = values[0], values[-1]
    drawn = tuple(
        Curve(
            name,
            tuple(Mark(at, (at - low) / (high - low), by_value[at]) for at in values if at in by_value),
            is_control,
        )
        for (name, is_control), by_value in sorted(rates.items())
    )
    shown = axis.partition(".")[2].replace("_", " ") or f"number of {axis}"
    return Plot(
        title,
        shown,
        measure,
        tuple(((at - low) / (high - low), f"{at:g}") for at in values),
        drawn,
        f"{measure} of merges with {title}, over {shown}. {' '.join(map(_described, drawn))}",
    )


def _described(curve: Curve) -> str:
    values = ", ".join(f"{mark.at:g}: {percent(mark.rate.mean)} %" for mark in curve.marks)
    return f"{curve.name}{' without the attacker' if curve.is_control else ''}: {values}."


def _elsewhere(line: Line, axis: str) -> str:
    """Say where a line lies on the axes that are not drawn; the number of tasks follows from its value."""
    others = {key: value for key, value in line.axes.items() if key != axis}
    return ", ".join(f"{key.partition('.')[2] or key} {value}" for key, value in others.items())


def _name(line: Line) -> str:
    return " + ".join(label(name) for name in (line.method, line.defense) if name != "none")
