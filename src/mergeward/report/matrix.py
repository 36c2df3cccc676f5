"""A run as papers print it: attacks in rows, merges in columns, in each cell attack success or accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mergeward.bench.estimate import Estimate
from mergeward.bench.grid import is_of_attacks
from mergeward.bench.summary import Line
from mergeward.report.curves import ATTACKED
from mergeward.report.scale import in_words, shown_value
from mergeward.report.words import label, percent

Measure: TypeAlias = Literal["success", "accuracy"]

BASE, CLEAN = "base", "clean merge"

ALONE = "base alone"
"""Heading of the control column: the model that nothing was merged into."""


@dataclass(frozen=True)
class Entry:
    """What was measured of one model.

    Attributes:
        estimate: Attack success or accuracy, over the seeds.
        control: Success of the same trigger on the merge that no attacker touched; None where it was not
            measured, and beside an accuracy.
        collapsed: For how many seeds the merge collapsed; see `bench.summary.Line`.
    """

    estimate: Estimate
    control: Estimate | None = None
    collapsed: int = 0

    @property
    def rate(self) -> float:
        """The mean, between 0 and 1."""
        return self.estimate.mean

    @property
    def text(self) -> str:
        """The mean in percent."""
        return percent(self.estimate.mean)

    @property
    def interval(self) -> str:
        """The 95 % interval in percent."""
        return f"[{percent(self.estimate.low)}, {percent(self.estimate.high)}]"

    @property
    def clean(self) -> str:
        """The control in percent; empty where there is none."""
        return "" if self.control is None else percent(self.control.mean)


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        attack: Its name, and where it lies on the axes of attacks, as shown.
        entries: One for each column; None where there is no such model.
    """

    attack: str
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True)
class Section:
    """The merges of one defense at one place of the other axes.

    Attributes:
        title: Both, as shown; empty where the whole run has one of each.
        rows: The attacks; of accuracies first the merges without one.
    """

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Matrix:
    """A table of one run.

    Attributes:
        measure: What is in it.
        columns: `ALONE` where the run has the base, then the merges, as shown.
        sections: The rows.
    """

    measure: Measure
    columns: tuple[str, ...]
    sections: tuple[Section, ...]


def matrix(lines: Sequence[Line], measure: Measure = "success") -> Matrix | None:
    """Return what every merge has under every attack; None for a run with fewer than two attacked merges.

    The base, a control, has no attack: its accuracy stands in the row of the merges without one, the success
    of each attack's trigger on it in that attack's.
    """
    attacked = [line for line in lines if line.kind == ATTACKED and line.success is not None]
    if len(attacked) < 2:
        return None
    clean = [line for line in lines if line.kind == CLEAN] if measure == "accuracy" else []
    shown = [*clean, *attacked]
    bases = [line for line in lines if line.kind == BASE]
    methods = tuple(dict.fromkeys(line.method for line in shown))
    defended = len({line.defense for line in shown}) > 1
    sections = tuple(
        Section(title, tuple(_rows(members, methods, bases, measure)))
        for title, members in _by(shown, lambda line: _setting(line, defended)).items()
    )
    return Matrix(measure, (*([ALONE] if bases else ()), *map(label, methods)), sections)


def _rows(
    lines: Sequence[Line], methods: Sequence[str], bases: Sequence[Line], measure: Measure
) -> Iterator[Row]:
    for attack, members in _by(lines, _attack).items():
        found = {line.method: _entry(line, measure) for line in members}
        alone = [_alone(members[0], bases, measure)] if bases else []
        yield Row(attack, (*alone, *(found.get(name) for name in methods)))


def _alone(line: Line, bases: Sequence[Line], measure: Measure) -> Entry | None:
    """Return the entry of the base beside the merges of one attack, or of none."""
    if measure == "accuracy" and line.kind == ATTACKED:
        return None
    own = (one for one in bases if one.axes.items() <= line.axes.items() and line.tasks == one.tasks)
    found = next((one for one in own if measure == "accuracy" or one.trigger == line.trigger), None)
    return None if found is None else _entry(found, measure)


def _entry(line: Line, measure: Measure) -> Entry | None:
    if measure == "accuracy":
        return Entry(line.accuracy, collapsed=line.collapsed or 0)
    if line.success is None:
        return None
    return Entry(line.success, line.clean_success, line.collapsed or 0)


def _attack(line: Line) -> str:
    own = [axis for axis in line.axes if is_of_attacks(axis)]
    return ", ".join([label(line.attack), *_places(line, own)])


def _setting(line: Line, defended: bool) -> str:
    """Return what a merge shares with others that stand in the same section."""
    others = [axis for axis in line.axes if not is_of_attacks(axis)]
    defense = "no defense" if line.defense == "none" else label(line.defense)
    return ", ".join([*([defense] if defended else ()), *_places(line, others)])


def _places(line: Line, axes: Sequence[str]) -> list[str]:
    return [f"{in_words(axis)} {shown_value(axis, line)}" for axis in axes]


def _by(lines: Sequence[Line], key: Callable[[Line], str]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return groups
