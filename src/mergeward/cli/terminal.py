"""What the commands show: progress on a terminal, tables, JSON, and one line for what went wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from mergeward.output import replaced
from mergeward.progress import Unit, listen


class _Amount(ProgressColumn):
    """How much of a piece of work is done, in steps or bytes, and how many of them a second."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = MofNCompleteColumn()
        self._bytes = DownloadColumn()
        self._speed = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields["unit"] == "steps":
            speed = task.finished_speed or task.speed
            return Text.assemble(self._steps.render(task), f" {speed:.3g}/s" if speed else "")
        return Text.assemble(self._bytes.render(task), " ", self._speed.render(task))


class _Bars:
    """Shows each piece of long work as a bar with the time left."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def start(self, label: str, total: int, unit: Unit) -> int:
        return self._bars.add_task(label, total=total, unit=unit, note="")

    def advance(self, handle: int, amount: int, note: str) -> None:
        self._bars.update(TaskID(handle), advance=amount, note=note)

    def finish(self, handle: int) -> None:
        self._bars.remove_task(TaskID(handle))


@contextmanager
def show_progress() -> Iterator[None]:
    """Show progress bars on standard error while the block runs; nothing when it is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        _Amount(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True) as bars, listen(_Bars(bars)):
        yield


def complain(message: str, code: int) -> int:
    """Print one line on standard error and return the exit code."""
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True).print(f"error: {line}", style="red", markup=False, highlight=False)
    return code


def warn(message: str) -> None:
    """Print one line of warning on standard error."""
    Console(stderr=True, soft_wrap=True).print(
        f"warning: {message}", style="yellow", markup=False, highlight=False
    )


def say(message: str) -> None:
    """Print one line for people on standard error, so that standard output stays for results."""
    Console(stderr=True, soft_wrap=True).print(message, markup=False, highlight=False)


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller decide what to exit with; Rich would exit with 1."""
        raise BrokenPipeError


def show(renderable: Any) -> None:
    """Print a table or text on standard output, as it is: names may hold what looks like markup.

    Raises:
        BrokenPipeError: Nobody reads it.
    """
    _Output(markup=False, emoji=False).print(renderable)


def hush() -> None:
    """Drop what is still to be printed: whoever read our output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(content: Any) -> None:
    """Print JSON on standard output."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def write_json(content: Any, path: Path) -> None:
    """Write JSON to a file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
