"""The plan of a merge as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from mergeward.workflow import MergePlan


def plan_table(plan: MergePlan) -> Table:
    """Return what a merge would do, a line for each thing that matters before it runs."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _lines(plan):
        table.add_row(label, text)
    return table


def _lines(plan: MergePlan) -> list[tuple[str, str]]:
    settings = {key: value for key, value in plan.settings.items() if key != "models"}
    size = sum(plan.files.values())
    return [
        ("method", f"{plan.method}: {plan.summary}"),
        ("settings", _assignments(settings)),
        ("base", plan.base),
        *(
            (name, " ".join(filter(None, [where, _assignments(plan.settings["models"][name])])))
            for name, where in plan.contributions.items()
        ),
        ("tensors", f"{plan.merged_tensors} merged, {plan.copied_tensors} from the base"),
        ("reads", f"{decimal(plan.read_bytes)}; {plan.passes}"),
        ("memory", f"about {decimal(plan.memory_bytes)} besides the program"),
        ("writes", f"{decimal(size)}: {', '.join(plan.files)}"),
        *(("note", note) for note in plan.notes),
    ]


def _assignments(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in settings.items() if value is not None)
