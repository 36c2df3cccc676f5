"""`mergeward harden`."""

from __future__ import annotations

from typing import Annotated

import typer

from mergeward.cli.interruption import can_go_on
from mergeward.cli.marks import tell_of_mark
from mergeward.cli.options import (
    Base,
    Data,
    Device,
    Out,
    Resume,
    Seed,
    Set,
    StateSeconds,
    Tasks,
    Threads,
    assignments,
)
from mergeward.cli.terminal import say, warn
from mergeward.workflow import harden
from mergeward.workflow.learning import SECONDS


def harden_command(
    model: Annotated[str, typer.Argument(help="The merged model: a Hugging Face CLIP folder, or a hub id.")],
    base: Base,
    defense: Annotated[str, typer.Option("--defense", help="A defense; see 'mergeward list defenses'.")],
    task: Tasks,
    out: Out,
    data: Data = None,
    seed: Seed = 0,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Another model of the same base, for defenses that need some. Repeatable."
        ),
    ] = None,
    set_: Set = None,
    resume: Resume = False,
    device: Device = "cpu",
    threads: Threads = None,
    state_seconds: StateSeconds = SECONDS,
) -> None:
    """Run a defense on a merged model. It sees the adapt images of each task, and no label."""
    with can_go_on(out):
        harden(
            model,
            base,
            defense,
            task,
            out,
            data=data,
            seed=seed,
            others=with_ or [],
            parameters=assignments(set_),
            resume=resume,
            device=device,
            threads=threads,
            state_seconds=state_seconds,
            on_collapse=warn,
        )
    tell_of_mark(out)
    say(f"hardened model written to {out}")
