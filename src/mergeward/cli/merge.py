"""`mergeward merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.cli.options import Json
from mergeward.cli.terminal import print_json, say, warn
from mergeward.workflow import merge


def merge_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, YAML with mergekit's keys.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    json: Json = False,
) -> None:
    """Merge the contributions of a recipe into its base."""
    report = merge(recipe, out)
    for name in report.backdoored_inputs:
        warn(f"{name} says of itself that it carries a backdoor; the merged model is marked accordingly")
    if json:
        print_json(
            {
                "out": str(report.out),
                "method": report.method,
                "inputs": dict(report.inputs),
                "backdoored_inputs": list(report.backdoored_inputs),
            }
        )
    else:
        say(f"{report.method} of {len(report.inputs) - 1} contributions written to {report.out}")
