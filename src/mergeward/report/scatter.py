"""Accuracy against attack success, with the merges that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeward.bench.summary import Line
from mergeward.report.words import label, percent

LOWEST, HIGHEST = -2.0, 102.0
"""No axis goes beyond, in percent; marks at 0 and 100 are drawn whole."""

MARGIN, LEAST_MARGIN = 0.1, 2.0
"""Room at either end of an axis: a share of what its values span, and at least so many points."""


@dataclass(frozen=True)
class Point:
    """One merge.

    Attributes:
        name: Method, defense and setting, as shown.
        number: What the chart calls it, from 1.
        text: Its figures, as shown.
        success: Attack success.
        accuracy: Its accuracy.
        is_best: Whether no other merge is better in one and at least as good in the other.
    """

    name: str
    number: int
    text: str
    success: float
    accuracy: float
    is_best: bool


@dataclass(frozen=True)
class Plot:
    """The merges under one attack.

    Attributes:
        title: The attack, as shown.
        points: One for each merge.
        front: The best ones, by attack success.
        description: What it shows, for those who do not see it.
    """

    title: str
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    description: str

    @property
    def across(self) -> tuple[float, float]:
        """Ends of the axis of attack success, in percent."""
        return _ends([one.success for one in self.points])

    @property
    def up(self) -> tuple[float, float]:
        """Ends of the axis of accuracy, in percent."""
        return _ends([one.accuracy for one in self.points])

    @property
    def stairs(self) -> tuple[tuple[float, float], ...]:
        """Corners, in percent, of the line below and right of which everything is beaten.

        It goes from the bottom of the plot to its right: there is a line where a single merge wins, too.
        """
        height, corners = self.up[0], []
        for one in self.front:
            corners += [(100 * one.success, height), (100 * one.success, 100 * one.accuracy)]
            height = 100 * one.accuracy
        return (*corners, (self.across[1], height))


def scatter(lines: Sequence[Line]) -> tuple[Plot, ...]:
    """Return one plot for each attack of the attacked merges, and each list of tasks they are measured on.

    A single merge has none: there is nothing to see it beside.
    """
    attacked = [line for line in lines if line.kind == "attacked merge" and line.success is not None]
    groups: dict[tuple[str, tuple[str, ...]], list[Line]] = {}
    for line in attacked:
        groups.setdefault((line.trigger, line.tasks), []).append(line)
    counts = {tasks for _, tasks in groups}
    return tuple(
        _plot(trigger, members, f", {len(tasks)} tasks" if len(counts) > 1 else "")
        for (trigger, tasks), members in groups.items()
        if len(members) > 1
    )


def pareto(figures: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which of some pairs (attack success, accuracy) no other one beats.

    A pair beats another with less or equal success and greater or equal accuracy, not both equal.

    Example:
        >>> pareto([(0.1, 0.8), (0.2, 0.7), (0.9, 0.9)])
        [True, False, True]
    """
    return [
        not any(x <= own_x and y >= own_y and (x, y) != (own_x, own_y) for x, y in figures)
        for own_x, own_y in figures
    ]


def _plot(trigger: str, lines: Sequence[Line], beside: str) -> Plot:
    figures = [(line.success.mean if line.success else 0.0, line.accuracy.mean) for line in lines]
    points = tuple(
        Point(
            _name(line),
            number,
            f"attack success {percent(x)} %, accuracy {percent(y)} %",
            x,
            y,
            best,
        )
        for number, (line, (x, y), best) in enumerate(
            zip(lines, figures, pareto(figures), strict=True), start=1
        )
    )
    front = sorted((one for one in points if one.is_best), key=lambda one: (one.success, one.accuracy))
    values = "; ".join(f"{point.name}: {point.text}" for point in points)
    attack, _, rest = trigger.partition(" ")
    return Plot(
        f"{label(attack)} {rest}".strip() + beside,
        points,
        tuple(front),
        f"Accuracy against attack success of merges with {label(attack)}. {values}.",
    )


def _ends(rates: Sequence[float]) -> tuple[float, float]:
    low, high = 100 * min(rates), 100 * max(rates)
    margin = max(MARGIN * (high - low), LEAST_MARGIN)
    return max(LOWEST, low - margin), min(HIGHEST, high + margin)


def _name(line: Line) -> str:
    axes = [
        f"{axis.partition('.')[2] or axis} {value}"
        for axis, value in line.axes.items()
        if not axis.startswith("attack")
    ]
    defense = [] if line.defense == "none" else [label(line.defense)]
    return ", ".join([label(line.method), *defense, *axes])
