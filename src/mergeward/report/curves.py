"""Plots over what a suite sweeps: attack success and accuracy as a coefficient grows, or by target class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line
from mergeward.report.scale import Scale, Tick, in_words, scale, shown_value
from mergeward.report.words import label, percent

ATTACKED, CLEAN = "attacked merge", "clean merge"

BESIDE = 0.025
"""How far apart the marks of two merges are at one name."""


@dataclass(frozen=True)
class Mark:
    """One value of what is swept.

    Attributes:
        tick: The value, and where it is.
        rate: The mean over seeds, with its interval.
    """

    tick: Tick
    rate: Estimate


@dataclass(frozen=True)
class Curve:
    """What one merge does at each value.

    Attributes:
        name: Merge and defense, as shown.
        marks: By value.
        is_control: Whether it is of merges that no attacker touched.
    """

    name: str
    marks: tuple[Mark, ...]
    is_control: bool

    @property
    def label(self) -> str:
        """The merge, and whether it is the control."""
        return f"{self.name}{' without the attacker' if self.is_control else ''}"


@dataclass(frozen=True)
class Plot:
    """One measure over one axis, for one attack.

    Attributes:
        title: The attack, as shown, and where it lies on the other axes.
        axis: What is swept, as shown.
        measure: "attack success" or "accuracy".
        scale: The values, and where they are.
        curves: Of attacked merges, each followed by its control.
        description: What it shows, for those who do not see it.
    """

    title: str
    axis: str
    measure: str
    scale: Scale
    curves: tuple[Curve, ...]
    description: str

    @property
    def names(self) -> tuple[str, ...]:
        """The merges, each once."""
        return tuple(dict.fromkeys(curve.name for curve in self.curves))

    def place(self, curve: Curve, mark: Mark) -> float:
        """Return where a mark is, from 0 to 1: at its tick, merges beside each other where names are."""
        if self.scale.is_continuous:
            return mark.tick.place
        return mark.tick.place + BESIDE * (self.names.index(curve.name) - (len(self.names) - 1) / 2)


def curves(lines: Sequence[Line]) -> tuple[Plot, ...]:
    """Return, for each attack and each axis with two values or more, success and accuracy over it."""
    attacked = [line for line in lines if line.kind == ATTACKED and line.success is not None]
    axes = dict.fromkeys(axis for line in attacked for axis in line.axes)
    return tuple(plot for axis in axes for plot in _over(axis, attacked, lines))


def _over(axis: str, attacked: Sequence[Line], lines: Sequence[Line]) -> Iterator[Plot]:
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in attacked:
        if axis in line.axes:
            groups.setdefault((line.attack, _elsewhere(line, axis)), []).append(line)
    for (attack, elsewhere), members in groups.items():
        found = scale(axis, members)
        if len(found.ticks) > 1:
            title = ", ".join(part for part in (label(attack), elsewhere) if part)
            yield _plot(title, found, _of_success(members, found))
            yield _plot(title, found, _of_accuracy(members, found, lines), measure="accuracy")


Rates = dict[tuple[str, bool], dict[Tick, Estimate]]
"""Rates by value, of each merge and of its control."""


def _of_success(members: Sequence[Line], over: Scale) -> Rates:
    found: Rates = {}
    for line in members:
        for rate, is_control in ((line.success, False), (line.clean_success, True)):
            if rate is not None:
                found.setdefault((_name(line), is_control), {})[over.tick(line)] = rate
    return found


def _of_accuracy(members: Sequence[Line], over: Scale, lines: Sequence[Line]) -> Rates:
    found: Rates = {}
    clean = [line for line in lines if line.kind == CLEAN]
    for line in members:
        tick = over.tick(line)
        found.setdefault((_name(line), False), {})[tick] = line.accuracy
        for other in clean:
            same = (other.method, other.defense, other.tasks) == (line.method, line.defense, line.tasks)
            if same and all(line.axes.get(key) == value for key, value in other.axes.items()):
                found.setdefault((_name(line), True), {})[tick] = other.accuracy
    return found


def _plot(title: str, over: Scale, rates: Rates, measure: str = "attack success") -> Plot:
    drawn = tuple(
        Curve(
            name,
            tuple(Mark(tick, by_tick[tick]) for tick in over.ticks if tick in by_tick),
            is_control,
        )
        for (name, is_control), by_tick in sorted(rates.items())
    )
    shown = _shown(over)
    return Plot(
        title,
        shown,
        measure,
        over,
        drawn,
        f"{measure} of merges with {title}, over {shown}. {' '.join(map(_described, drawn))}",
    )


def _shown(over: Scale) -> str:
    """Return an axis in words: `tasks`, of which a suite sweeps how many there are, has no dot."""
    name = in_words(over.axis)
    return f"number of {name}" if name == over.axis and over.is_continuous else name


def _described(curve: Curve) -> str:
    values = ", ".join(f"{mark.tick.text}: {percent(mark.rate.mean)} %" for mark in curve.marks)
    return f"{curve.label}: {values}."


def _elsewhere(line: Line, axis: str) -> str:
    """Say where a line lies on the axes that are not drawn; the number of tasks follows from its value."""
    others = (key for key in line.axes if key != axis)
    return ", ".join(f"{in_words(key)} {shown_value(key, line)}" for key in others)


def _name(line: Line) -> str:
    return " + ".join(label(name) for name in (line.method, line.defense) if name != "none")
