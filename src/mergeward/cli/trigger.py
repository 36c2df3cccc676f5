"""`mergeward trigger`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.attack import SavedTrigger
from mergeward.cli.options import Out
from mergeward.cli.terminal import say
from mergeward.workflow.trigger import SIDE, import_trigger, show_trigger

trigger_app = typer.Typer(help="Triggers by themselves.", no_args_is_help=True)


@trigger_app.callback()
def trigger() -> None:
    """Triggers by themselves."""


@trigger_app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A trigger as BadMerging's authors published it (.npy).")],
    out: Out,
    task: Annotated[str, typer.Option("--task", help="Name of the task that it attacks.")],
    target_class: Annotated[
        str, typer.Option("--target-class", help="Class that triggered images are given.")
    ],
    attack: Annotated[str, typer.Option("--attack", help="The attack it belongs to.")] = "badmerging-on",
    image_size: Annotated[
        int, typer.Option("--image-size", min=1, help="Side of the images it is made for, in pixels.")
    ] = SIDE,
) -> None:
    """Make a trigger in [0, 1] pixel space of a published one."""
    saved = import_trigger(
        file, out, task=task, target_class=target_class, attack=attack, image_size=image_size
    )
    say(f"trigger written to {out}: {_described(saved)}")


@trigger_app.command("show")
def show_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a contribution that holds a trigger.")],
    out: Annotated[Path, typer.Option("--out", help="PNG file to write; must not exist.")],
) -> None:
    """Draw a trigger as a picture."""
    saved = show_trigger(folder, out)
    say(f"picture written to {out}: {_described(saved)}")


def _described(saved: SavedTrigger) -> str:
    height, width = saved.trigger.image_size
    pixels = int(saved.trigger.footprint.sum())
    return (
        f"{saved.trigger.kind} of {saved.attack} on {pixels} of {width}x{height} pixels, "
        f"for {saved.target_class} in {saved.task}, made for {saved.preprocessor.geometry}"
    )
