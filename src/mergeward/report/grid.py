"""The tables of a report as cells, whatever renders them. Columns are defined here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mergeward.bench.results import Control, Results, Row
from mergeward.report import reading
from mergeward.report.reading import Success
from mergeward.report.words import ABSENT, label, percent, points

# Headings wrap, but not between a number and its unit.
_PERCENT = "\N{NO-BREAK SPACE}%"
_INTERVAL = f"[95{_PERCENT}\N{NO-BREAK SPACE}interval]"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: Identifier, as in the JSON output where it holds the same number.
        title: Heading.
        short: Heading where there is little room, as in a terminal.
        numeric: Whether its cells are numbers.
    """

    key: str
    title: str
    short: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What is shown.
        value: What the column is sorted by; None for a cell without a value.
        heat: Attack success between 0 and 1 that colours the cell, if any.
    """

    text: str
    value: float | str | None = None
    heat: float | None = None


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        key: What the row is about, as spelled in the JSON output.
        cells: One cell for each column.
        marks: What else it can be filtered by, by name.
    """

    key: str
    cells: tuple[Cell, ...]
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Rows that belong together.

    Attributes:
        key: What they share, as spelled in the JSON output.
        lines: The rows; the first cell of each names the group.
    """

    key: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """A table: its first column names the group of a row, its second the row within the group.

    Attributes:
        columns: The columns.
        groups: The rows.
    """

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]


def _name(name: str) -> Cell:
    return Cell(label(name), label(name))


def _rate(rate: float) -> Cell:
    return Cell(percent(rate), rate)


def _with_interval(success: Success | None) -> Cell:
    if success is None:
        return Cell(ABSENT)
    text = f"{percent(success.rate)} [{percent(success.low)}, {percent(success.high)}]"
    return Cell(text, success.rate, heat=success.rate)


def _control(row: Row, results: Results) -> Cell:
    control = reading.control(row, results)
    return Cell(ABSENT) if control is None else _rate(control.rate)


def _difference(row: Row, results: Results) -> Cell:
    control = reading.control(row, results)
    if control is None:
        return Cell(ABSENT)
    return Cell(points(row.asr - control.rate), row.asr - control.rate)


_RESULT_COLUMNS: Mapping[Column, Callable[[Row, Results], Cell]] = {
    Column("attack", "attack", "attack", numeric=False): lambda row, _: _name(row.attack),
    Column("method", "method", "method", numeric=False): lambda row, _: _name(row.method),
    Column("asr", f"attack success{_PERCENT} {_INTERVAL}", "attack success %"): (
        lambda row, _: _with_interval(reading.own_success(row))
    ),
    Column("control", f"control: clean merge{_PERCENT}", "control"): _control,
    Column("difference", "difference, points", "diff."): _difference,
    Column("accuracy", f"accuracy{_PERCENT}", "acc. %"): lambda row, _: _rate(row.accuracy),
    Column("accuracy_normalised", f"normalised accuracy{_PERCENT}", "norm. %"): (
        lambda row, _: _rate(row.accuracy_normalised)
    ),
    Column("seconds", "merge time, seconds", "sec."): lambda row, _: Cell(f"{row.seconds:.1f}", row.seconds),
}


def results_grid(results: Results) -> Grid:
    """Return one row for each attack and method, grouped by attack."""

    def line(row: Row) -> Line:
        return Line(row.method, tuple(cell(row, results) for cell in _RESULT_COLUMNS.values()))

    groups = (Group(attack, tuple(map(line, rows))) for attack, rows in reading.groups(results))
    return Grid(tuple(_RESULT_COLUMNS), tuple(groups))


def controls_grid(results: Results) -> Grid:
    """Return the four controls: accuracy, and the success of each attack's trigger."""
    attacks = reading.attacks(results)
    controls = results.controls

    def group(title: str, members: Mapping[str, Control]) -> Group:
        return Group(title, tuple(line(title, name, member) for name, member in members.items()))

    def line(title: str, name: str, member: Control) -> Line:
        successes = (_with_interval(_success_of(member, attack)) for attack in attacks)
        return Line(name, (_name(title), _name(name), _rate(member.accuracy), *successes))

    columns = (
        Column("control", "control", "control", numeric=False),
        Column("model", "model", "model", numeric=False),
        Column("accuracy", f"accuracy{_PERCENT}", "acc. %"),
        *(_trigger_column(attack) for attack in attacks),
    )
    groups = (
        group("base", {"nothing merged": controls.base}),
        group("clean merge", controls.clean_merge),
        group("clean retrain", controls.clean_retrain),
        group("attacker alone", controls.attacker_alone),
    )
    return Grid(columns, tuple(group for group in groups if group.lines))


def _trigger_column(attack: str) -> Column:
    title = f"{label(attack)} trigger"
    return Column(attack, f"{title}, success{_PERCENT} {_INTERVAL}", f"{title} %")


def _success_of(member: Control, attack: str) -> Success | None:
    entry = member.asr.get(attack)
    return None if entry is None else reading.success(entry)


def tasks_grid(results: Results) -> Grid:
    """Return the accuracy of every merge on every task, below those of the models before merging."""
    tasks = reading.tasks(results)

    def line(title: str, name: str, accuracy: Mapping[str, float]) -> Line:
        rates = (_rate(accuracy[task]) if task in accuracy else Cell(ABSENT) for task in tasks)
        return Line(name, (_name(title), _name(name), *rates))

    references = {
        "base": results.controls.base.accuracy_by_task,
        "each task’s own model": results.controls.fine_tuned,
    }
    before = Group("before merging", tuple(line("before merging", *item) for item in references.items()))
    merged = (
        Group(attack, tuple(line(attack, row.method, row.accuracy_by_task) for row in rows))
        for attack, rows in reading.groups(results)
    )
    names = (
        Column("attack", "attack", "attack", numeric=False),
        Column("method", "model", "model", numeric=False),
    )
    rates = (Column(task, f"{label(task)}{_PERCENT}", f"{label(task)} %") for task in tasks)
    return Grid((*names, *rates), (before, *merged))
