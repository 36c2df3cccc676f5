"""`mergeward demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.bench import DemoConfig, run_demo
from mergeward.cli.marks import SUITE_WARNING
from mergeward.cli.options import Data, Seed, small_base
from mergeward.cli.terminal import say, show, warn, write_json
from mergeward.report import controls_table, results_table, write_page
from mergeward.tasks import task_names
from mergeward.vision import load_clip


def demo_command(
    data: Data = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Task names separated by commas; default the embedded six.")
    ] = None,
    target_task: Annotated[
        str | None, typer.Option("--target-task", help="The attacked task; default the second.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="The base; default 'embedded', with --data one pretrained on that data."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for the page.")] = Path("mergeward-demo"),
    json: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Merge clean and backdoored contributions five ways and measure what survives."""
    chosen = [name.strip() for name in tasks.split(",")] if tasks else task_names(data)
    path = small_base(base, data)
    warn(SUITE_WARNING)
    results = run_demo(
        load_clip(path).source.path, chosen, DemoConfig(seed=seed, target_task=target_task), data=data
    )
    page = out / "index.html"
    write_page(results, page)
    if json is not None:
        write_json(results.to_json(), json)
    show(results_table(results))
    show(controls_table(results))
    say(f"page: {page}")
