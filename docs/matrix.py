"""A run as papers print it: a row for each attack, a column for each merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
from mergeward.bench.summary import Line
from mergeward.report.matrix import Entry, Measure, matrix
from mergeward.report.words import label

ATTACKED, CLEAN = "attacked merge", "clean merge"

EN_DASH = "\N{EN DASH}"


def table(lines: Sequence[Line], measure: Measure, *, intervals: bool = True) -> str:
    """Return attacks against merges, as the report's page has them, as a Markdown table.

    Args:
        lines: Of a run.
        measure: What is in it; beside an attack's success stands, in round brackets, that on the clean merge.
        intervals: Whether figures have theirs.
    """
    found = matrix(lines, measure)
    if found is None:
        raise ValueError("fewer than two attacked merges are no table")
    rows = [(row, section.title) for section in found.sections for row in section.rows]
    attacks = list(dict.fromkeys(row.attack for row, _ in rows))
    cells = [["attack", *found.columns], ["---", *["---:"] * len(found.columns)]]
    cells += [
        [
            ", ".join(filter(None, (row.attack, title))),
            *("" if entry is None else _said(entry, intervals=intervals) for entry in row.entries),
        ]
        for row, title in sorted(rows, key=lambda one: attacks.index(one[0].attack))
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


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


def _said(entry: Entry, *, intervals: bool) -> str:
    interval = f" {entry.interval.replace(', ', EN_DASH)}" if intervals else ""
    return f"{entry.text}{interval}" + (f" ({entry.clean})" if entry.clean else "")


def _named(attack: str, axes: Mapping[str, Any]) -> str:
    """Return an attack and where it lies on the axes, in words."""
    places = [f"{axis.partition('.')[2] or axis} {value}" for axis, value in axes.items()]
    return ", ".join([label(attack), *places]).replace("_", " ")
