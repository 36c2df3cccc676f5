"""The demonstration: contributions with and without a backdoor, merged five ways, each result measured.

It is a grid like any other: {all clean, clean retrain, BadNets, BadMerging} x methods.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mergeward.bench.grid import Cell, expand
from mergeward.bench.measure import Outcome, run_cell
from mergeward.bench.results import (
    AttackPictures,
    Control,
    Controls,
    Example,
    Image,
    Results,
    Row,
)
from mergeward.bench.suite import NONE, Suite, as_suite
from mergeward.bench.variants import check_suite
from mergeward.bench.workshop import Workshop
from mergeward.compute import thread_count
from mergeward.errors import UsageError, unknown_name
from mergeward.evaluate import Rate
from mergeward.processes import check_alone
from mergeward.progress import track
from mergeward.provenance import package_version
from mergeward.tasks import Task
from mergeward.train import FinetuneConfig

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


def run_demo(
    base: Path,
    tasks: Sequence[str],
    config: DemoConfig = DemoConfig(),
    *,
    data: Path | None = None,
) -> Results:
    """Make or reuse the contributions, merge every pool by every method, and measure.

    Args:
        base: Folder of the base.
        tasks: Specs of two tasks or more.
        config: Seed, target and budgets.
        data: Folder of task files; None for the embedded tasks.

    Raises:
        UsageError: Fewer than two tasks, two of one name, a target task that is not among them, or a
            launcher started several processes.
    """
    check_alone("demo")
    workshop = Workshop(base, data)
    loaded = {spec: workshop.task(spec, config.seed) for spec in tasks}
    if len({task.name for task in loaded.values()}) < max(2, len(tasks)):
        raise UsageError("the demonstration needs at least two tasks, each of another name")
    suite = _suite(loaded, config)
    check_suite(suite)
    cells = expand(suite, tasks)
    outcomes = [run_cell(workshop, cell) for cell in track(cells, "merge and measure")]
    return _Reading(workshop, config, loaded, list(zip(cells, outcomes, strict=True))).results()


def _suite(tasks: Mapping[str, Task], config: DemoConfig) -> Suite:
    target = _target(tasks, config)
    tasks[target].class_index(config.target_class)
    return as_suite(
        {
            "name": "demo",
            "title": "The demonstration",
            "summary": "Contributions with and without a backdoor, merged and measured.",
            "tasks": list(tasks),
            "training": _plain(config.training),
            "attacker": {
                "task": target,
                "target_class": config.target_class,
                "training": _plain(config.attacker_training),
            },
            "attacks": list(ATTACKS),
            "methods": [
                {"method": name, "parameters": dict(values)} for name, values in config.methods.items()
            ],
            "seeds": [config.seed],
        }
    )


def _target(tasks: Mapping[str, Task], config: DemoConfig) -> str:
    """Return the spec of the attacked task."""
    by_name = {task.name: spec for spec, task in tasks.items()}
    name = config.target_task or list(by_name)[1]
    if name not in by_name:
        raise unknown_name("target task", name, by_name)
    return by_name[name]


def _plain(training: FinetuneConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(training).items() if key != "seed"}


@dataclass(frozen=True)
class _Reading:
    """Reads results off the measured cells of a demonstration."""

    workshop: Workshop
    config: DemoConfig
    tasks: Mapping[str, Task]
    measured: Sequence[tuple[Cell, Outcome]]

    @property
    def target(self) -> Task:
        """The attacked task."""
        return self.tasks[_target(self.tasks, self.config)]

    def results(self) -> Results:
        """Return rows, controls, setting and pictures."""
        fine_tuned = {
            name: rate.value
            for _, outcome in self._of("fine-tuned")
            for name, rate in outcome.accuracies.items()
        }
        controls = Controls(
            base=_control(self._of("base")[0][1]),
            fine_tuned=fine_tuned,
            attacker_alone={cell.attack: _control(outcome) for cell, outcome in self._of("attacker alone")},
            clean_merge={cell.method: _control(outcome) for cell, outcome in self._of("clean merge")},
            clean_retrain={cell.method: _control(outcome) for cell, outcome in self._of("clean retrain")},
        )
        rows = [
            _row(cell, outcome, fine_tuned, self.target.name)
            for kind in ("clean merge", "attacked merge")
            for cell, outcome in self._of(kind)
        ]
        pictures = tuple(self._pictures(name) for name in ATTACKS)
        return Results(
            tuple(rows),
            controls,
            _setting(self.workshop.base, list(self.tasks.values()), self.config),
            pictures,
        )

    def _of(self, kind: str) -> list[tuple[Cell, Outcome]]:
        return [(cell, outcome) for cell, outcome in self.measured if cell.kind == kind]

    def _pictures(self, attack: str) -> AttackPictures:
        merges = {cell.method: cell for cell, _ in self._of("attacked merge") if cell.attack == attack}
        contribution = next(iter(merges.values())).triggers[0][1]
        spec = _target(self.tasks, self.config)
        saved, prepared = self.workshop.trigger(contribution), self.workshop.prepared(spec, self.config.seed)
        predicted = {
            method: self.workshop.predictions(cell.model, (spec,), cell.seed, contribution)[spec]
            for method, cell in merges.items()
        }
        names, split = self.target.class_names, self.target.split("test")
        examples = []
        for index in _examples(self.target, self.config.target_class):
            pixels = prepared.pixels("test")[index : index + 1].float() / 255
            examples.append(
                Example(
                    clean=_picture(pixels[0]),
                    triggered=_picture(saved.trigger.apply(pixels)[0]),
                    true_class=names[int(split.labels[index])],
                    predictions={method: names[int(labels[index])] for method, labels in predicted.items()},
                )
            )
        return AttackPictures(
            attack=attack,
            target_class=saved.target_class,
            pattern=_picture(saved.trigger.picture()),
            footprint=(saved.trigger.footprint[0] * 255).to(torch.uint8).numpy(),
            examples=tuple(examples),
        )


def _examples(task: Task, target_class: int) -> list[int]:
    """The first test image of each of a few classes other than the target."""
    labels = task.split("test").labels
    others = np.setdiff1d(labels, [target_class])[:EXAMPLES]
    return [int(np.flatnonzero(labels == label)[0]) for label in others]


def _row(cell: Cell, outcome: Outcome, fine_tuned: Mapping[str, float], target: str) -> Row:
    by_task = {task: rate.value for task, rate in outcome.accuracies.items()}
    normalised = [value / fine_tuned[task] for task, value in by_task.items()]
    rate = outcome.successes[CONTROL_ATTACK if cell.attack == NONE else cell.attack]
    low, high = rate.interval
    return Row(
        attack=cell.attack,
        method=cell.method,
        accuracy=outcome.accuracy,
        accuracy_normalised=sum(normalised) / len(normalised),
        accuracy_by_task=by_task,
        target_task=target,
        asr=rate.value,
        asr_low=low,
        asr_high=high,
        seconds=outcome.costs[1].seconds if outcome.costs[1] else 0.0,
    )


def _control(outcome: Outcome) -> Control:
    return Control(
        accuracy=outcome.accuracy,
        accuracy_by_task={name: rate.value for name, rate in outcome.accuracies.items()},
        asr={name: _with_interval(rate) for name, rate in outcome.successes.items()},
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


def _picture(pixels: Tensor) -> Image:
    """Float `[3, H, W]` in [0, 1] as uint8 `[H, W, 3]`."""
    picture: Image = (pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return picture
