"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from mergeward.audit import Budget
from mergeward.cli.terminal import say
from mergeward.errors import UsageError
from mergeward.tasks import Task, load_task, task_names
from mergeward.testbed import EMBEDDED, base_path, found_base, local_base

Base = Annotated[
    str, typer.Option("--base", help="The pretrained CLIP: 'embedded', a Hugging Face folder, or a hub id.")
]
TaskSpec = Annotated[
    str, typer.Option("--task", help="An embedded task, a name within --data, a path, or hf:DATASET.")
]
Tasks = Annotated[
    list[str], typer.Option("--task", help="An embedded task, a name within --data, or a path. Repeatable.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of task files (.npz or image folders).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps.")]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        min=0.0,
        help="Peak rate of AdamW; default 7e-4, for the small CLIP (ViT-B/32 and larger: about 1e-5).",
    ),
]
BUDGETS = "|".join(Budget)
"""What an audit may spend, for the help."""

Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda or cuda:N.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from what an interrupted run of the same command left.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads; by default MERGEWARD_THREADS, or 2.")
]
StateSeconds = Annotated[
    float,
    typer.Option("--state-seconds", min=0, help="Seconds from one kept state of the learning to the next."),
]

BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a step.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter; see 'mergeward list'. Repeatable."),
]


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """Return what `--set KEY=VALUE` sets; values are YAML, so that numbers are numbers.

    Raises:
        UsageError: One is not of that form, or two set the same.
    """
    found: dict[str, Any] = {}
    for key, value in map(_assignment, texts or []):
        if key in found:
            raise UsageError(f"--set {key}: given twice")
        found[key] = value
    return found


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: expected KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not readable as YAML") from error


def size(text: str, *, option: str) -> int:
    """Return a number of bytes from text such as `5GB`, `500MB` or `2GiB`.

    Args:
        text: A number and perhaps a unit, decimal (KB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB).
        option: The option that it is for, for the error.

    Raises:
        UsageError: It is not of that form, or below one byte.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B|B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{option} {text}: expected a size such as 5GB or 500MB")
    number, prefix, binary = match.groups()
    power = " KMGT".index(prefix.upper()) if prefix else 0
    found = int(float(number) * (1024 if binary else 1000) ** power)
    if found < 1:
        raise UsageError(f"{option} {text}: expected at least one byte")
    return found


def small_base(name: str | None, data: Path | None) -> str | Path:
    """Return where a small CLIP is: as named, the embedded one, or one pretrained on the data."""
    if name is not None or data is None:
        return base_path(name or EMBEDDED)
    say("no --base: pretraining one on this data, or taking it from the cache; it stays there")
    return local_base(_tasks_in(data))


def found_small_base(name: str | None, data: Path | None) -> str | Path | None:
    """Return the same where it is there; None where it would be pretrained first."""
    if name is not None or data is None:
        return base_path(name or EMBEDDED)
    return found_base(_tasks_in(data))


def _tasks_in(data: Path) -> list[Task]:
    return [load_task(task, data=data) for task in task_names(data)]
