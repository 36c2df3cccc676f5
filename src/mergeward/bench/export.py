"""A run's table as CSV, Markdown, LaTeX or JSON.

Rates are means over seeds; in CSV and JSON between 0 and 1, with `_low` and `_high` the ends of their 95 %
intervals (see `estimate.estimate`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mergeward.bench.estimate import Estimate
from mergeward.bench.store import RunFile
from mergeward.bench.summary import Line, summarise
from mergeward.errors import unknown_name

ESTIMATES = (
    "accuracy",
    "success",
    "untriggered",
    "clean_success",
    "retrain_success",
    "transfer",
    "clean_transfer",
)
NAMES = ("kind", "attack", "method", "defense")
COSTS = ("merge_seconds", "merge_peak_bytes", "defense_seconds", "attack_seconds")
HEADINGS = (
    "accuracy %",
    "attack success %",
    "without the trigger %",
    "on the clean merge %",
    "on the clean retrain %",
    "transfer %",
    "transfer on the clean merge %",
    "difference, points",
)

COST_HEADINGS = ("merge s", "merge MB")
"""Seconds of a merge, and the most memory of its process."""

NUMERIC = ("seeds", *HEADINGS, *COST_HEADINGS)


def export(run: RunFile, form: str) -> str:
    """Return a run's table as text, ending in a newline.

    Args:
        run: The run.
        form: "csv", "md", "latex" or "json".

    Raises:
        UsageError: There is no such form.
    """
    if form not in FORMS:
        raise unknown_name("format", form, FORMS)
    return FORMS[form](summarise(run))


def as_record(line: Line) -> dict[str, Any]:
    """Return a line as plain values; what there is not, is None."""
    record: dict[str, Any] = {
        **{name: getattr(line, name) for name in NAMES},
        "trigger": line.trigger or None,
        "axes": dict(line.axes),
        "tasks": list(line.tasks),
        "seeds": line.accuracy.seeds,
        "collapsed": line.collapsed,
    }
    for name in ESTIMATES:
        record |= _ends(name, getattr(line, name))
    record["difference"] = line.difference
    for task, estimate in line.accuracy_by_task.items():
        record |= _ends(f"accuracy {task}", estimate)
    return record | {name: getattr(line, name) for name in COSTS}


def _ends(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _json(lines: Sequence[Line]) -> str:
    return json.dumps([as_record(line) for line in lines], indent=2) + "\n"


def _csv(lines: Sequence[Line]) -> str:
    records = [_flat(as_record(line)) for line in lines]
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "axes": json.dumps(record["axes"]) if record["axes"] else "",
        "tasks": " ".join(record["tasks"]),
    }


def _markdown(lines: Sequence[Line]) -> str:
    head, *rows = _table(lines, "\N{EN DASH}")
    rule = ["---:" if name in NUMERIC else "---" for name in head]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *map(_escaped, rows)))


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|").replace("_", "\\_").replace("<", "&lt;") for cell in cells]


def _latex(lines: Sequence[Line]) -> str:
    rows = _table(lines, "--")
    body = [" & ".join(_tex(cell) for cell in cells) + r" \\" for cells in rows]
    columns = "".join("r" if name in NUMERIC else "l" for name in rows[0])
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(f"\\{character}" if character in "_%&#$" else character for character in text)


def _table(lines: Sequence[Line], dash: str) -> list[list[str]]:
    """Return headings and rows, without the columns that no line fills."""
    rows = [[*NAMES, "trigger", "axes", *NUMERIC], *(_cells(line, dash) for line in lines)]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:]) or not lines]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(line: Line, dash: str) -> list[str]:
    names = [getattr(line, name) for name in NAMES]
    if line.kind in {"fine-tuned", "attacker alone"}:
        names[2] = line.tasks[0]
    axes = ", ".join(f"{axis}={value}" for axis, value in line.axes.items())
    rates = [_percent(getattr(line, name), dash) for name in ESTIMATES]
    difference = "" if line.difference is None else f"{100 * line.difference:.1f}"
    seconds = "" if line.merge_seconds is None else f"{line.merge_seconds:.1f}"
    memory = "" if line.merge_peak_bytes is None else f"{line.merge_peak_bytes / 1e6:.0f}"
    seeds = f"{line.accuracy.seeds} ({line.collapsed} collapsed)" if line.collapsed else line.accuracy.seeds
    return [*names, line.trigger, axes, str(seeds), *rates, difference, seconds, memory]


def _percent(estimate: Estimate | None, dash: str) -> str:
    if estimate is None:
        return ""
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}{dash}{100 * estimate.high:.1f}]"


FORMS: Mapping[str, Callable[[Sequence[Line]], str]] = {
    "csv": _csv,
    "md": _markdown,
    "latex": _latex,
    "json": _json,
}
"""The forms of a table, by name."""
