"""A run as papers print it: attacks in rows, merges in columns, in each cell the attack success."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mergeward.bench.estimate import Estimate
from mergeward.bench.grid import is_of_attacks
from mergeward.bench.summary import Line
from mergeward.report.curves import ATTACKED
from mergeward.report.scale import in_words, shown_value
from mergeward.report.words import label, percent


@dataclass(frozen=True)
class Entry:
    """What an attack achieves in a merge.

    Attributes:
        rate: Mean attack success over the seeds, between 0 and 1.
        text: The same, in percent.
        interval: Its 95 % interval, in percent.
        control: The same trigger on the merge that no attacker touched, in percent; empty where it was not
            measured.
        collapsed: For how many seeds the merge collapsed; see `bench.summary.Line`.
    """

    rate: float
    text: str
    interval: str
    control: str
    collapsed: int = 0


@dataclass(frozen=True)
class Row:
    """One attack.

    Attributes:
        attack: Its name, and where it lies on the axes of attacks, as shown.
        entries: One for each merge; None where there is no such merge.
    """

    attack: str
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True)
class Section:
    """The merges of one defense at one place of the other axes.

    Attributes:
        title: Both, as shown; empty where the whole run has one of each.
        rows: The attacks.
    """

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Matrix:
    """The table of one run.

    Attributes:
        merges: The columns, as shown.
        sections: The rows.
    """

    merges: tuple[str, ...]
    sections: tuple[Section, ...]


def matrix(lines: Sequence[Line]) -> Matrix | None:
    """Return what every attack achieves in every merge; None for a run with fewer than two such figures."""
    shown = [line for line in lines if line.kind == ATTACKED and line.success is not None]
    if len(shown) < 2:
        return None
    methods = tuple(dict.fromkeys(line.method for line in shown))
    defended = len({line.defense for line in shown}) > 1
    sections = tuple(
        Section(title, tuple(_rows(members, methods)))
        for title, members in _by(shown, lambda line: _setting(line, defended)).items()
    )
    return Matrix(tuple(map(label, methods)), sections)


def _rows(lines: Sequence[Line], methods: Sequence[str]) -> Iterator[Row]:
    for attack, members in _by(lines, _attack).items():
        found = {line.method: _entry(line, line.success) for line in members if line.success}
        yield Row(attack, tuple(found.get(name) for name in methods))


def _entry(line: Line, success: Estimate) -> Entry:
    return Entry(
        success.mean,
        percent(success.mean),
        f"[{percent(success.low)}, {percent(success.high)}]",
        "" if line.clean_success is None else percent(line.clean_success.mean),
        line.collapsed or 0,
    )


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
