"""A run as papers print it: a row for each attack, a column for each merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line
from mergeward.report.words import label, percent

ATTACKED, CLEAN = "attacked merge", "clean merge"

Say = Callable[[Line], str]


def matrix(lines: Sequence[Line], say: Say, kinds: tuple[str, ...] = (ATTACKED,)) -> str:
    """Return a Markdown table.

    Args:
        lines: Of a run.
        say: What to say of a merge.
        kinds: Which models have a row.
    """
    shown = [line for line in lines if line.kind in kinds]
    columns = list(dict.fromkeys(_merge(line) for line in shown))
    rows: dict[str, dict[str, str]] = {}
    for line in shown:
        rows.setdefault(_row(line), {}).setdefault(_merge(line), say(line))
    table = [["attack", *columns], ["---", *["---:"] * len(columns)]]
    table += [[name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def success(line: Line) -> str:
    """Say an attack's success with its interval, and in round brackets that on the clean merge."""
    control = "" if line.clean_success is None else f" ({percent(line.clean_success.mean)})"
    return f"{_interval(line.success)}{control}"


def success_alone(line: Line) -> str:
    """Say the same without the interval."""
    control = "" if line.clean_success is None else f" ({percent(line.clean_success.mean)})"
    return f"{'' if line.success is None else percent(line.success.mean)}{control}"


def accuracy(line: Line) -> str:
    """Say the accuracy with its interval."""
    return _interval(line.accuracy)


def accuracy_alone(line: Line) -> str:
    """Say the accuracy."""
    return percent(line.accuracy.mean)


def _row(line: Line) -> str:
    axes = ", ".join(f"{axis.partition('.')[2] or axis} {value}" for axis, value in line.axes.items())
    return ", ".join(part for part in (label(line.attack), axes) if part).replace("_", " ")


def _merge(line: Line) -> str:
    return " + ".join(label(name) for name in (line.method, line.defense) if name != "none")


def _interval(rate: Estimate | None) -> str:
    return "" if rate is None else f"{percent(rate.mean)} [{percent(rate.low)}–{percent(rate.high)}]"
