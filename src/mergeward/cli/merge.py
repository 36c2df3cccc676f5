"""`mergeward merge`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mergeward.audit import Audited, Verdict, audit_and_merge, check_policy
from mergeward.cli.interruption import can_go_on
from mergeward.cli.options import Device, Json, Resume, StateSeconds, Threads, size
from mergeward.cli.plan import plan_table
from mergeward.cli.terminal import print_json, say, show, warn
from mergeward.recipe import AuditPolicy, Recipe, load_recipe
from mergeward.workflow import MergeReport, merge, plan_merge
from mergeward.workflow.learning import SECONDS


def merge_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, YAML with mergekit's keys.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, and stop.")
    ] = False,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    shard_size: Annotated[
        str, typer.Option("--shard-size", help="Size above which the weights are divided among files.")
    ] = "5GB",
    state_seconds: StateSeconds = SECONDS,
    audit: Annotated[
        bool, typer.Option("--audit", help="Audit the contributions first, as the recipe's audit says.")
    ] = False,
    json: Json = False,
) -> None:
    """Merge the contributions of a recipe into its base."""
    shard_bytes = size(shard_size, option="--shard-size")
    asked = load_recipe(recipe)
    if not audit:
        _tell_of_audit_left_out(asked)
    if dry_run:
        if audit:
            check_policy(asked)
        plan = plan_merge(asked, out, device=device, threads=threads, shard_bytes=shard_bytes)
        for message in plan.warnings:
            warn(message)
        if json:
            print_json(asdict(plan))
        else:
            show(plan_table(plan))
        return
    merging: Callable[..., MergeReport] = (
        partial(audit_and_merge, on_audited=_tell_of_audit) if audit else merge
    )
    with can_go_on(out):
        report = merging(
            asked,
            out,
            resume=resume,
            device=device,
            threads=threads,
            shard_bytes=shard_bytes,
            state_seconds=state_seconds,
            on_marked=_tell_of_mark,
        )
    for message in report.warnings:
        warn(message)
    if json:
        print_json(
            {
                "out": str(report.out),
                "method": report.method,
                "inputs": dict(report.inputs),
                "backdoored_inputs": list(report.backdoored_inputs),
                "warnings": list(report.warnings),
                "audit": None if report.audit is None else report.audit.to_json(),
            }
        )
    else:
        say(f"{report.method} of {len(report.inputs) - 1} contributions written to {report.out}")


def _tell_of_audit_left_out(recipe: Recipe) -> None:
    if recipe.audit != AuditPolicy():
        warn(f"the recipe's audit (policy {recipe.audit.policy}) is not done; --audit does it")


def _tell_of_mark(name: str) -> None:
    warn(f"{name} says of itself that it carries a backdoor; the merged model is marked accordingly")


def _tell_of_audit(checked: Audited) -> None:
    tell = warn if checked.report.verdict is Verdict.SUSPECT else say
    tell(f"audit: {checked.note}")
