"""`mergeward testbed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.cli.options import Data, Out, Seed
from mergeward.cli.terminal import say
from mergeward.errors import UsageError
from mergeward.tasks import load_plain, load_task, task_names
from mergeward.tasks.embedded import EMBEDDED
from mergeward.testbed import PretrainConfig, pretrain

testbed_app = typer.Typer(help="The small CLIP to try things on.", no_args_is_help=True)


@testbed_app.callback()
def testbed() -> None:
    """The small CLIP to try things on."""


@testbed_app.command("pretrain")
def pretrain_command(
    out: Out,
    data: Data = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Names within --data, separated by commas; default all.")
    ] = None,
    drawn: Annotated[
        bool | None,
        typer.Option(
            "--drawn/--no-drawn", help="Also the pictures that the package draws; default without --data."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps.")] = None,
    seed: Seed = 0,
) -> None:
    """Pretrain a base on image-caption pairs; an interrupted run resumes when started again."""
    if tasks is not None and data is None:
        raise UsageError("--tasks: names tasks within --data, which is not given")
    config = PretrainConfig(seed=seed) if steps is None else PretrainConfig(seed=seed, steps=steps)
    corpus = [load_plain(name) for name in EMBEDDED] if drawn or (drawn is None and data is None) else []
    if data is not None:
        names = tasks.split(",") if tasks else task_names(data)
        corpus += [load_task(name.strip(), data=data) for name in names]
    pretrain(corpus, Path(out), config)
    say(f"base written to {out}")
