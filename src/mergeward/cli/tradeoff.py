"""`mergeward tradeoff`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mergeward.cli.interruption import can_go_on
from mergeward.cli.options import Device, Json, Out, Resume, StateSeconds, Threads
from mergeward.cli.terminal import print_json, say, show, warn
from mergeward.errors import UsageError
from mergeward.report import tradeoff_svg, tradeoff_table
from mergeward.workflow import tradeoff
from mergeward.workflow.learning import SECONDS


class SplitName(StrEnum):
    """The images that may be measured on."""

    validation = "validation"
    test = "test"


def tradeoff_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe; its method has an alpha, as dam has.")],
    trigger: Annotated[
        Path, typer.Option("--trigger", help="Folder of the backdoored contribution, with its trigger.")
    ],
    out: Out,
    alpha: Annotated[
        str, typer.Option("--alpha", help="Weights of the safety loss, with commas between them.")
    ] = "0,0.03,0.1,0.3,1",
    clean: Annotated[
        Path | None,
        typer.Option("--clean", help="Control: a clean contribution to put in the backdoored one's place."),
    ] = None,
    split: Annotated[
        SplitName,
        typer.Option("--split", help="Images to measure on: validation to choose alpha, test to report."),
    ] = SplitName.validation,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    state_seconds: StateSeconds = SECONDS,
    json: Json = False,
) -> None:
    """Merge at several alphas, and draw accuracy against attack success."""
    alphas = _numbers(alpha)
    with can_go_on(out):
        found = tradeoff(
            recipe,
            alphas,
            trigger,
            clean=clean,
            split=split.value,
            out=out,
            picture=tradeoff_svg,
            resume=resume,
            device=device,
            threads=threads,
            state_seconds=state_seconds,
        )
    for point in found.points:
        for message in point.merge.collapsed.values():
            warn(f"alpha {point.alpha:g}: {message}")
    if clean is None:
        warn("no control: without --clean, the trigger's success is not shown without the backdoor")
    if json:
        print_json(found.to_json())
    else:
        show(tradeoff_table(found))
        say(f"figures and picture written to {out}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--alpha {text}: expected numbers with commas between them") from error
