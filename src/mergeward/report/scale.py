"""Where the values of a suite's axis lie in a plot: numbers in proportion, names side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergeward.bench.summary import Line
from mergeward.bench.variants import ATTACKER_FIELDS

CATEGORIES = {f"attacker.{name}" for name in ATTACKER_FIELDS}
"""Axes whose values are names, though numbers stand for them."""

TASKS = CATEGORIES - {"attacker.target_class"}
"""Those on which a number is a place among the suite's tasks."""

ROOM = 48
"""Characters that a row under a plot holds."""


@dataclass(frozen=True)
class Tick:
    """One value of an axis.

    Attributes:
        place: Where it is, from 0 to 1.
        text: The value, as shown.
    """

    place: float
    text: str


@dataclass(frozen=True)
class Scale:
    """The values of one axis.

    Attributes:
        axis: Its name in the suite.
        ticks: The values; numbers by size, names in the order of the run.
        is_continuous: Whether the values are numbers, between which there are others.
    """

    axis: str
    ticks: tuple[Tick, ...]
    is_continuous: bool

    @property
    def is_crowded(self) -> bool:
        """Whether names would run into each other in one row."""
        longest = max(len(tick.text) for tick in self.ticks)
        return not self.is_continuous and longest * len(self.ticks) > ROOM

    def tick(self, line: Line) -> Tick:
        """Return where a line lies that has a value on the axis."""
        text = shown_value(self.axis, line)
        return next(tick for tick in self.ticks if tick.text == text)


def scale(axis: str, lines: Sequence[Line]) -> Scale:
    """Return the scale of an axis on which every line has a value."""
    numbers = sorted({float(line.axes[axis]) for line in lines if _is_number(axis, line)})
    if all(_is_number(axis, line) for line in lines) and len(numbers) > 1:
        low, high = numbers[0], numbers[-1]
        ticks = tuple(Tick((number - low) / (high - low), f"{number:g}") for number in numbers)
        return Scale(axis, ticks, is_continuous=True)
    texts = list(dict.fromkeys(shown_value(axis, line) for line in lines))
    # In the middle of columns of equal width.
    ticks = tuple(Tick((place + 0.5) / len(texts), text) for place, text in enumerate(texts))
    return Scale(axis, ticks, is_continuous=False)


def in_words(axis: str) -> str:
    """Return the last part of an axis' name, in words."""
    return axis.rpartition(".")[2].replace("_", " ")


def shown_value(axis: str, line: Line) -> str:
    """Return the value of a line on an axis as text: tasks by their names."""
    value = line.axes[axis]
    if axis in TASKS and isinstance(value, int):
        return list(line.accuracy_by_task)[value]
    return f"{value:g}" if _is_number(axis, line) else str(value)


def _is_number(axis: str, line: Line) -> bool:
    value = line.axes[axis]
    return axis not in CATEGORIES and isinstance(value, int | float) and not isinstance(value, bool)
