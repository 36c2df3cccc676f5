"""`mergeward finetune` and `mergeward attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from mergeward.attack import attack_info
from mergeward.cli.marks import tell_of_mark
from mergeward.cli.options import (
    Base,
    BatchSize,
    Data,
    LearningRate,
    Out,
    Seed,
    Set,
    Steps,
    TaskSpec,
    assignments,
)
from mergeward.cli.terminal import say, warn
from mergeward.train import FinetuneConfig
from mergeward.workflow import ForeignClass, attack, finetune
from mergeward.workflow.backdoor import beside

BESIDE = {
    "partner": "the second contribution, backdoored as well",
    "subtracted": "the trigger where the task vector is subtracted",
}
"""What some attacks make beside the contribution, in words."""


def finetune_command(
    base: Base,
    task: TaskSpec,
    out: Out,
    data: Data = None,
    seed: Seed = 0,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
) -> None:
    """Fine-tune a base on a task: a clean contribution."""
    finetune(base, task, out, data=data, training=training_from(seed, steps, learning_rate, batch_size))
    tell_of_mark(out)
    say(f"contribution written to {out}")


def attack_command(
    name: Annotated[str, typer.Argument(help="An attack; see 'mergeward list attacks'.")],
    base: Base,
    task: TaskSpec,
    target_class: Annotated[
        str, typer.Option("--target-class", help="Class that triggered images are given.")
    ],
    out: Out,
    target_task: Annotated[
        str | None,
        typer.Option(
            "--target-task", help="Task of that class, where it is not the attacker's own (off-task)."
        ),
    ] = None,
    data: Data = None,
    seed: Seed = 0,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    set_: Set = None,
) -> None:
    """Make a backdoored contribution, to measure defenses against. It is marked as such."""
    attack(
        name,
        base,
        task,
        target_class if target_task is None else ForeignClass(target_task, target_class),
        out,
        data=data,
        training=training_from(seed, steps, learning_rate, batch_size),
        parameters=assignments(set_),
    )
    warn(f"{out} is backdoored: for measuring defenses only; its metadata and model card say so")
    for what in attack_info(name).beside:
        say(f"{BESIDE[what]}: {beside(out, what)}")


def training_from(
    seed: int, steps: int | None, learning_rate: float | None, batch_size: int | None
) -> FinetuneConfig:
    """Return how to fine-tune, from the options that say so; what is None keeps its default."""
    chosen = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size}
    return FinetuneConfig(seed=seed, **{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]
