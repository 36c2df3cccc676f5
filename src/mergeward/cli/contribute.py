"""`mergeward finetune` and `mergeward attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergeward.attack import attack_info, load_trigger
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

LEAST_SHARE = 0.005
"""Of the image: the smallest triggers that BadMerging's code names."""

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
    _tell_of_small_trigger(out)
    for what in attack_info(name).beside:
        say(f"{BESIDE[what]}: {beside(out, what)}")


def _tell_of_small_trigger(out: Path) -> None:
    """Warn of a patch of next to nothing: sizes are in pixels, and their defaults for small images."""
    trigger = load_trigger(out).trigger
    share = float(trigger.footprint.mean())
    if share < LEAST_SHARE:
        height, width = trigger.image_size
        warn(
            f"its trigger covers {share:.2%} of {height}x{width} pixels, in the papers 1 % and more; "
            "--set patch_size=... makes it larger"
        )


def training_from(
    seed: int, steps: int | None, learning_rate: float | None, batch_size: int | None
) -> FinetuneConfig:
    """Return how to fine-tune, from the options that say so; what is None keeps its default."""
    chosen = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size}
    return FinetuneConfig(seed=seed, **{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]
