"""`mergeward bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mergeward.bench.clean import clean
from mergeward.bench.compare import compare, differing, missing
from mergeward.bench.engines import ENGINES, choose_engine
from mergeward.bench.estimate import Estimate
from mergeward.bench.export import FORMS, export
from mergeward.bench.grid import expand
from mergeward.bench.outdated import Outdated
from mergeward.bench.rows import CellRow
from mergeward.bench.run import FILTERS, Plan, RunSummary, Step, narrowed, plan_run, run_plan
from mergeward.bench.store import read_run
from mergeward.bench.suite import SMALL, Suite, load_suite, suite_names
from mergeward.bench.tracking import log_run
from mergeward.bench.variants import check_suite
from mergeward.cli.marks import SUITE_WARNING
from mergeward.cli.options import Data, Json, found_small_base, small_base
from mergeward.cli.terminal import complain, print_json, say, show, warn
from mergeward.errors import UsageError
from mergeward.report import write_figures, write_run_page
from mergeward.testbed import base_path
from mergeward.vision import load_clip

FAILED = 1
"""Exit code of a run in which a cell failed."""

CHANGED = 1
"""Exit code of a comparison that found a change beyond the intervals."""

bench_app = typer.Typer(
    help="Run suites: grids of attacks, merges and defenses, measured with their controls.",
    epilog="Exit code 1: of 'run', a cell failed (the others are measured all the same); "
    "of 'compare', a figure changed beyond its interval. The others are those of every command.",
    no_args_is_help=True,
)

SuiteName = Annotated[str, typer.Argument(help="A suite; see 'mergeward bench list'. Or a YAML file.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="attack=A,method=M",
        help=f"Keep these members ({', '.join(FILTERS)}); their controls stay. Repeatable.",
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Seeds in place of the suite's, as in 0,1,2.")]
Runs = Annotated[Path, typer.Argument(help="A file that 'mergeward bench run' wrote.")]


@bench_app.command("list")
def list_command(json: Json = False) -> None:
    """List the suites there are."""
    suites = [load_suite(name) for name in suite_names()]
    if json:
        print_json([suite.model_dump(mode="json") for suite in suites])
        return
    table = Table("name", "title", "source")
    for suite in suites:
        table.add_row(suite.name, suite.title, suite.source)
    show(table)


@bench_app.command("show")
def show_command(suite: SuiteName, data: Data = None, json: Json = False) -> None:
    """Show what a suite is made of, and how many cells it has."""
    loaded = load_suite(suite)
    check_suite(loaded)
    if json:
        print_json(loaded.model_dump(mode="json"))
        return
    show(_description(loaded, data))


@bench_app.command("run")
def run_command(
    suite: SuiteName,
    data: Data = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The base; default the suite's. As in 'mergeward merge'.")
    ] = None,
    only: Only = None,
    seeds: Seeds = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run's file; default SUITE.sqlite in this folder.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; default as many as the cores allow.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help=f"Where cells are computed: {' or '.join(ENGINES)}.")
    ] = ENGINES[0],
    address: Annotated[
        str | None, typer.Option("--address", help="Of the Ray cluster; default one of this machine.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="DIR|URL", help="Artefacts that several machines share."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --out; try failed cells again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and stop.")] = False,
    json: Json = False,
) -> int:
    """Run a suite. It can be stopped at any time and goes on with --resume."""
    chosen = narrowed(_on(load_suite(suite), base), _only(only), _seeds(seeds))
    check_suite(chosen)
    chosen.task_specs(data)
    where = choose_engine(engine, workers=workers, address=address)
    if dry_run:
        there = found_small_base(base, data) if chosen.base == SMALL else base_path(chosen.base)
        _show_plan(plan_run(chosen, _folder(there), data, store), json)
        return 0
    place = small_base(base, data) if chosen.base == SMALL else base_path(chosen.base)
    plan = plan_run(chosen, _folder(place), data, store)
    path = out or Path(f"{chosen.name}.sqlite")
    if chosen.attacks:
        warn(SUITE_WARNING)
    done = run_plan(plan, path, resume=resume, engine=where, report=_report, on_outdated=_warn_of_outdated)
    _show_summary(done, json)
    return FAILED if done.failed or done.partial else 0


@bench_app.command("export")
def export_command(
    run: Runs,
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMS)}.")] = "md",
) -> None:
    """Print a run's table, with means over seeds and 95 % intervals."""
    typer.echo(export(read_run(run), form), nl=False)


@bench_app.command("report")
def report_command(
    runs: Annotated[list[Path], typer.Argument(help="Files that 'mergeward bench run' wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="New folder for the charts as PNG and PDF; needs the extra figures."),
    ] = None,
) -> None:
    """Write runs as one self-contained HTML page, and on request their charts as files."""
    read = [read_run(run) for run in runs]
    if figures is not None:
        say(f"figures: {len(write_figures(read, figures))} files in {figures}")
    write_run_page(read, out)
    say(f"page: {out}")


@bench_app.command("compare")
def compare_command(
    before: Runs,
    after: Annotated[Path, typer.Argument(help="Another such file.")],
    json: Json = False,
) -> int:
    """Say what changed from one run to another.

    Exits with 1 when something did beyond its intervals, or cells of the second were not measured.
    """
    first, second = read_run(before), read_run(after)
    for run in (first, second):
        if missing(run):
            warn(f"{run.path}: {missing(run)} cells were not measured")
    for what in differing(first, second):
        warn(f"the second run is of {what}")
    changes = compare(first, second)
    beyond = [change for change in changes if change.is_beyond]
    if json:
        print_json([asdict(change) | {"beyond": change.is_beyond} for change in changes])
    else:
        table = Table("what", "measure", "before %", "after %", "beyond the intervals")
        for one in changes:
            marks = (_ends(one.before), _ends(one.after), "yes" if one.is_beyond else "no")
            table.add_row(one.line, one.measure, *marks)
        show(table)
        say(f"{len(changes)} figures changed, {len(beyond)} of them beyond their intervals")
    return CHANGED if beyond or missing(second) else 0


@bench_app.command("log")
def log_command(
    run: Runs,
    uri: Annotated[
        str | None,
        typer.Option(
            "--uri", help="A server, or a database as in sqlite:///mlflow.db; default MLflow's own."
        ),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Name of the experiment; default the suite's.")
    ] = None,
) -> None:
    """Log a run's cells to MLflow, those that are not there yet."""
    say(f"logged: {log_run(read_run(run), uri, experiment)} cells")


@bench_app.command("clean")
def clean_command(
    everything: Annotated[
        bool, typer.Option("--all", help="Contributions and figures too; runs then start from nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed, and stop.")] = False,
) -> None:
    """Free what suites keep in the cache: merged models, which can be made again from the contributions."""
    freed = clean(everything=everything, dry_run=dry_run)
    for kind, size in freed.items():
        say(f"{kind}: {size / 1e6:.1f} MB")
    say(f"{'would be freed' if dry_run else 'freed'}: {sum(freed.values()) / 1e6:.1f} MB")


def _ends(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none"
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f} to {100 * estimate.high:.1f}]"


def _only(texts: list[str] | None) -> dict[str, list[str]]:
    """Read `attack=a,method=m`; what is named twice under one key is kept both."""
    chosen: dict[str, list[str]] = {}
    for pair in (pair for text in texts or [] for pair in text.split(",")):
        key, equals, name = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--only {pair}: expected KEY=NAME, with KEY one of {', '.join(FILTERS)}")
        chosen.setdefault(key.strip(), []).append(name.strip())
    return chosen


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise UsageError(f"--seeds {text}: expected whole numbers separated by commas, as in 0,1,2")
    return [int(part) for part in text.split(",")]


def _on(suite: Suite, base: str | None) -> Suite:
    """Return a suite with another base than its own, unless the command chooses it by the data."""
    return suite if base is None or suite.base == SMALL else suite.model_copy(update={"base": base})


def _folder(base: str | Path | None) -> Path | None:
    return None if base is None else load_clip(base).source.path


def _description(suite: Suite, data: Path | None) -> Table:
    table = Table(show_header=False, title=f"{suite.name}: {suite.title}", title_justify="left")
    tasks = suite.task_specs(data)
    rows = {
        "about": suite.summary,
        "source": suite.source,
        "base": suite.base,
        "tasks": ", ".join(tasks),
        "attacks": ", ".join(entry.name for entry in suite.attacks),
        "methods": ", ".join(entry.name for entry in suite.methods),
        "defenses": ", ".join(entry.name for entry in suite.defenses),
        "seeds": ", ".join(str(seed) for seed in suite.seeds),
        **{axis: ", ".join(str(value) for value in values) for axis, values in suite.sweep.items()},
        "cells": str(len(expand(suite, tasks))),
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    return table


def _report(step: Step) -> None:
    row = step.row
    if row.status != "done":
        result = f"failed: {row.error}"
    else:
        success = "" if row.success is None else f", attack success {100 * row.success:.1f} %"
        result = f"accuracy {100 * (row.accuracy or 0):.1f} %{success} ({row.seconds:.0f} s)"
        result += f"; {row.error}" if row.error else ""
    left = "" if not step.seconds_left else f"; about {_duration(step.seconds_left)} left"
    say(f"[{step.number}/{step.total}] {step.label}: {result}{left}")


def _warn_of_outdated(outdated: Outdated) -> None:
    warn(str(outdated))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _show_plan(plan: Plan, json: bool) -> None:
    facts: dict[str, Any] = {
        "suite": plan.suite.name,
        "cells": len(plan.cells),
        "cells_in_cache": plan.cached,
        "contributions": len(plan.contributions),
        "contributions_to_make": plan.missing,
        "base_to_make": not plan.has_base,
    }
    if json:
        print_json(facts | {"labels": [cell.label for cell in plan.cells.values()]})
        return
    for cell in plan.cells.values():
        typer.echo(cell.label)
    if not plan.has_base:
        say("no --base: one would be pretrained on this data first")
    say(
        f"{len(plan.cells)} cells, {plan.cached} of them in the cache; "
        f"{plan.missing} of {len(plan.contributions)} contributions to make"
    )


def _show_summary(done: RunSummary, json: bool) -> None:
    if json:
        print_json(
            {
                "run": str(done.path),
                "measured": done.measured,
                "kept": done.kept,
                "failed": _causes(done.failed),
                "partial": _causes(done.partial),
            }
        )
    say(f"{done.measured} cells measured, {done.kept} kept, {len(done.failed)} failed: {done.path}")
    for row in done.failed + done.partial:
        complain(f"{row.label}: {row.error}", FAILED)


def _causes(rows: Sequence[CellRow]) -> list[dict[str, str | None]]:
    return [{"cell": row.cell, "kind": row.kind, "cause": row.error} for row in rows]
