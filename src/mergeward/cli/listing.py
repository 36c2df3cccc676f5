"""`mergeward list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from mergeward import catalogue
from mergeward.cli.options import Data, Json
from mergeward.cli.terminal import print_json, show
from mergeward.errors import unknown_name

KINDS = ("methods", "attacks", "defenses", "tasks")


def list_command(
    kind: Annotated[str, typer.Argument(help=f"What to list: {', '.join(KINDS)}.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """List the methods, attacks, defenses or tasks there are."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    entries: list[dict[str, Any]] = catalogue.tasks(data) if kind == "tasks" else getattr(catalogue, kind)()
    if json:
        print_json(entries)
        return
    columns = [
        column
        for column in ("name", "kind", "summary", "paper", "package")
        if any(entry.get(column) for entry in entries)
    ]
    table = Table(*columns)
    for entry in entries:
        table.add_row(*(str(entry[column]) for column in columns))
    show(table)
