"""A run as papers print it: a row for each attack, a column for each merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from mergeward.bench.estimate import Estimate
from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
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
        rows.setdefault(_named(line.attack, line.axes), {}).setdefault(_merge(line), say(line))
    table = [["attack", *columns], ["---", *["---:"] * len(columns)]]
    table += [[name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def costs(run: RunFile) -> str:
    """Return what making each attack's contributions took, as a Markdown table: the median over seeds."""
    rows: dict[str, list[CellRow]] = {}
    for row in run.done:
        if row.kind == "attacker alone" and row.attack_seconds is not None:
            rows.setdefault(_named(row.attack, row.axes), []).append(row)
    table = [["attack", "seconds", "peak memory, MB"], ["---", "---:", "---:"]]
    for name, members in rows.items():
        seconds = median(row.attack_seconds or 0 for row in members)
        memory = max(row.attack_peak_bytes or 0 for row in members)
        table.append([name, f"{seconds:.0f}", f"{memory / 1e6:.0f}"])
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


def _named(attack: str, axes: Mapping[str, Any]) -> str:
    """Return an attack and where it lies on the axes, in words."""
    places = [f"{axis.partition('.')[2] or axis} {value}" for axis, value in axes.items()]
    return ", ".join([label(attack), *places]).replace("_", " ")


def _merge(line: Line) -> str:
    return " + ".join(label(name) for name in (line.method, line.defense) if name != "none")


def _interval(rate: Estimate | None) -> str:
    return "" if rate is None else f"{percent(rate.mean)} [{percent(rate.low)}–{percent(rate.high)}]"
