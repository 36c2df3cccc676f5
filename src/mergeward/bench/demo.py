"""The demonstration: contributions with and without a backdoor, merged five ways, each result measured.

It is a grid like any other: {all clean, clean retrain, BadNets, BadMerging} x methods.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mergeward.attack import load_trigger
from mergeward.bench.cell import Measured, Stage, measure_model, merge_and_measure
from mergeward.bench.pool import Maker
from mergeward.bench.results import (
    AttackPictures,
    Control,
    Controls,
    Example,
    Image,
    Results,
    Row,
)
from mergeward.compute import thread_count
from mergeward.errors import UsageError, unknown_name
from mergeward.evaluate import Rate
from mergeward.progress import track
from mergeward.provenance import package_version
from mergeward.tasks import Task
from mergeward.train import FinetuneConfig
from mergeward.vision import load_clip
from mergeward.workflow import PreparedTask

ATTACKS = ("badnets", "badmerging-on")
CONTROL_ATTACK = "badmerging-on"
"""Whose trigger the rows without an attack are measured with."""

METHODS: Mapping[str, Mapping[str, Any]] = {
    "average": {},
    "task_arithmetic": {"weight": 0.3},
    "ties": {"weight": 0.3, "density": 0.2},
    "adamerging": {"steps": 40, "lr": 1e-2},
    "dam": {
        "steps": 20,
        "coefficient_steps": 20,
        "base_lr": 1e-2,
        "coefficient_lr": 1e-2,
        "mask_lr": 1e-2,
    },
}
"""The methods, with budgets that let the whole grid run in minutes on two cores."""

EXAMPLES = 6


@dataclass(frozen=True)
class DemoConfig:
    """What the demonstration runs on.

    Attributes:
        seed: Seed of splits, contributions and merges.
        target_task: The task that the attacker contributes to; by default the second.
        target_class: Label that triggered images are to be given; by default the first.
        training: How clean contributions are fine-tuned.
        attacker_training: How the attacker fine-tunes: at a higher rate, which is theirs to choose. The clean
            retrain in the attacker's place does the same, so that it differs by the backdoor alone.
        methods: Merge methods with their parameters.
    """

    seed: int = 0
    target_task: str | None = None
    target_class: int = 0
    training: FinetuneConfig = field(default_factory=FinetuneConfig)
    attacker_training: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(learning_rate=1e-3))
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: METHODS)


def run_demo(base: Path, tasks: Sequence[Task], config: DemoConfig = DemoConfig()) -> Results:
    """Make or reuse the contributions, merge every pool by every method, and measure.

    Args:
        base: Folder of the base.
        tasks: Two tasks or more.
        config: Seed, target and budgets.

    Raises:
        UsageError: Fewer than two tasks, two of one name, or a target task that is not among them.
    """
    if len({task.name for task in tasks}) < max(2, len(tasks)):
        raise UsageError("the demonstration needs at least two tasks, each of another name")
    target = _target(tasks, config)
    training = replace(config.training, seed=config.seed)
    attacking = replace(config.attacker_training, seed=config.seed)
    clip = load_clip(base)
    maker = Maker(base, clip.source.digest())
    clean = {task.name: maker.clean(task, training) for task in track(tasks, "clean contributions")}
    attacker = {
        "retrain": maker.clean(target, replace(attacking, seed=config.seed + 1)),
        **{
            name: maker.backdoored(name, target, target.class_names[config.target_class], attacking)
            for name in ATTACKS
        },
    }
    triggers = {name: load_trigger(attacker[name]) for name in ATTACKS}
    prepared = [PreparedTask(task, clip) for task in tasks]
    stage = Stage(
        base=base,
        clip=clip,
        tasks=prepared,
        triggers=triggers,
        target_task=target.name,
        target_class=config.target_class,
        examples=_examples(target, config.target_class),
        seed=config.seed,
    )
    pools = {"none": clean} | {name: {**clean, target.name: path} for name, path in attacker.items()}
    grid = [(pool, name) for pool in pools for name in config.methods]
    cells = {
        (pool, name): merge_and_measure(stage, list(pools[pool].values()), name, config.methods[name])
        for pool, name in track(grid, "merge and measure")
    }
    fine_tuned = {
        one.task.name: measure_model(stage, clean[one.task.name], [one]).accuracy[one.task.name]
        for one in prepared
    }
    alone = {name: measure_model(stage, attacker[name], [stage.target]) for name in ATTACKS}
    controls = Controls(
        base=_control(measure_model(stage, base, prepared)),
        fine_tuned={name: rate.value for name, rate in fine_tuned.items()},
        attacker_alone={name: _control(measured) for name, measured in alone.items()},
        clean_merge={name: _control(cells["none", name]) for name in config.methods},
        clean_retrain={name: _control(cells["retrain", name]) for name in config.methods},
    )
    rows = [
        _row(pool, name, cells[pool, name], fine_tuned, target.name)
        for pool in ("none", *ATTACKS)
        for name in config.methods
    ]
    return Results(tuple(rows), controls, _setting(base, tasks, config), _pictures(stage, cells, config))


def _target(tasks: Sequence[Task], config: DemoConfig) -> Task:
    by_name = {task.name: task for task in tasks}
    name = config.target_task or tasks[1].name
    if name not in by_name:
        raise unknown_name("target task", name, by_name)
    by_name[name].class_index(config.target_class)
    return by_name[name]


def _examples(task: Task, target_class: int) -> list[int]:
    """The first test image of each of a few classes other than the target."""
    labels = task.split("test").labels
    others = np.setdiff1d(labels, [target_class])[:EXAMPLES]
    return [int(np.flatnonzero(labels == label)[0]) for label in others]


def _row(attack: str, name: str, cell: Measured, fine_tuned: Mapping[str, Rate], target: str) -> Row:
    by_task = {task: rate.value for task, rate in cell.accuracy.items()}
    normalised = [value / fine_tuned[task].value for task, value in by_task.items()]
    rate = cell.asr[CONTROL_ATTACK if attack == "none" else attack]
    low, high = rate.interval
    return Row(
        attack=attack,
        method=name,
        accuracy=cell.mean_accuracy,
        accuracy_normalised=sum(normalised) / len(normalised),
        accuracy_by_task=by_task,
        target_task=target,
        asr=rate.value,
        asr_low=low,
        asr_high=high,
        seconds=round(cell.seconds, 3),
    )


def _control(measured: Measured) -> Control:
    return Control(
        accuracy=measured.mean_accuracy,
        accuracy_by_task={name: rate.value for name, rate in measured.accuracy.items()},
        asr={name: _with_interval(rate) for name, rate in measured.asr.items()},
    )


def _with_interval(rate: Rate) -> dict[str, float]:
    low, high = rate.interval
    return {"asr": rate.value, "asr_low": low, "asr_high": high}


def _setting(base: Path, tasks: Sequence[Task], config: DemoConfig) -> dict[str, str]:
    return {
        "base": f"{base.parent.name}/{base.name}",
        "tasks": ", ".join(task.name for task in tasks),
        "seed": str(config.seed),
        "clean contributions": _training(config.training),
        "attacker's contributions": _training(config.attacker_training),
        "methods": "; ".join(f"{name} {dict(parameters)}" for name, parameters in config.methods.items()),
        "threads": str(thread_count()),
        "versions": f"mergeward {package_version()}, torch {torch.__version__}, "
        f"transformers {version('transformers')}, Python {platform.python_version()}",
    }


def _training(config: FinetuneConfig) -> str:
    return f"{config.steps} steps of {config.batch_size}, learning rate {config.learning_rate:g}"


def _pictures(
    stage: Stage, cells: Mapping[tuple[str, str], Measured], config: DemoConfig
) -> tuple[AttackPictures, ...]:
    return tuple(_attack_pictures(stage, cells, config, name) for name in ATTACKS)


def _attack_pictures(
    stage: Stage, cells: Mapping[tuple[str, str], Measured], config: DemoConfig, attack: str
) -> AttackPictures:
    saved = stage.triggers[attack]
    names = stage.target.task.class_names
    labels = stage.target.labels("test")
    examples = []
    for place, index in enumerate(stage.examples):
        pixels = stage.test_pixels[stage.target_task][index : index + 1].float() / 255
        examples.append(
            Example(
                clean=_picture(pixels[0]),
                triggered=_picture(saved.trigger.apply(pixels)[0]),
                true_class=names[int(labels[index])],
                predictions={
                    method: names[cells[attack, method].predictions[attack][place]]
                    for method in config.methods
                },
            )
        )
    blank = torch.ones(1, *saved.trigger.pattern.shape)
    return AttackPictures(
        attack=attack,
        target_class=saved.target_class,
        pattern=_picture(saved.trigger.apply(blank)[0]),
        mask=(saved.trigger.mask[0] * 255).to(torch.uint8).numpy(),
        examples=tuple(examples),
    )


def _picture(pixels: Tensor) -> Image:
    """Float `[3, H, W]` in [0, 1] as uint8 `[H, W, 3]`."""
    picture: Image = (pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return picture
