"""Contributions to merge, one of them backdoored, and what a merge of them does."""

from __future__ import annotations

import json
import os
import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.compute import thread_count
from mergeward.evaluate import accuracy, attack_success, predict
from mergeward.train import FinetuneConfig
from mergeward.workflow import PreparedTask, attack, finetune, open_base, open_task

ATTACK = "badmerging-on"
ATTACKED = 1
"""Place of the backdoored contribution's task among the tasks."""
TARGET = 0
EMBEDDED = ("digits", "signs", "terrain", "shapes", "letters", "textures")
CLEAN_RATE, ATTACK_RATE = 7e-4, 1e-3
"""Learning rates of the contributions; for the rest the defaults hold."""
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Pool:
    """Fine-tunes of one base, a task each, with a backdoor in one of them.

    Attributes:
        base: A base.
        tasks: The tasks.
        data: Folder of task files; None for embedded tasks.
        folder: Where the contributions are; they are made once.
        quick: Whether contributions of a few steps will do.
    """

    base: str
    tasks: tuple[str, ...]
    data: Path | None
    folder: Path
    quick: bool = False

    @property
    def models(self) -> list[dict[str, str]]:
        """The contributions as a recipe has them; made if they are not there."""
        return [
            {"model": str(self._attacked if place == ATTACKED else self._clean(task)), "task": task}
            for place, task in enumerate(self.tasks)
        ]

    @property
    def name(self) -> str:
        """What to call it: the base's name."""
        return Path(self.base).name

    def recipe(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a recipe that merges the contributions by DAM."""
        data = {} if self.data is None else {"data": str(self.data.resolve())}
        return {
            "merge_method": "dam",
            "base_model": self.base,
            "models": self.models,
            "parameters": dict(parameters),
            "dtype": "float32",
            **data,
        }

    @cached_property
    def trigger(self) -> SavedTrigger:
        """The backdoor's trigger."""
        return load_trigger(self._attacked)

    def measured(self, merged: Path, splits: Sequence[str] = SPLITS) -> dict[str, dict[str, float]]:
        """Return the mean `accuracy` over the tasks and the `attack_success` of a merge, by split."""
        clip = open_base(str(merged))
        found: dict[str, dict[str, float]] = {"accuracy": {}, "attack_success": {}}
        for split in splits:
            rates = [
                accuracy(predict(clip.encoder, one.pixels(split), one.head), one.labels(split)).value
                for one in self._prepared.values()
            ]
            attacked = self._prepared[self.tasks[ATTACKED]]
            moved = predict(clip.encoder, attacked.pixels(split), attacked.head, self.trigger.trigger)
            found["accuracy"][split] = fmean(rates)
            found["attack_success"][split] = attack_success(moved, attacked.labels(split), TARGET).value
        return found

    @cached_property
    def _prepared(self) -> Mapping[str, PreparedTask]:
        clip = open_base(self.base)
        return {task: PreparedTask(open_task(task, self.data, 0), clip) for task in self.tasks}

    def _clean(self, task: str) -> Path:
        out = self.folder / task
        if not out.exists():
            finetune(self.base, task, out, data=self.data, training=self._training(CLEAN_RATE))
        return out

    @property
    def _attacked(self) -> Path:
        task = self.tasks[ATTACKED]
        out = self.folder / f"{task}-{ATTACK}"
        if not out.exists():
            training, parameters = self._training(ATTACK_RATE), {"trigger_steps": 2} if self.quick else {}
            attack(
                ATTACK, self.base, task, TARGET, out, data=self.data, training=training, parameters=parameters
            )
        return out

    def _training(self, rate: float) -> FinetuneConfig:
        size = {"steps": 2, "batch_size": 8} if self.quick else {}
        return FinetuneConfig(learning_rate=rate, **size)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that say what is merged."""
    parser.add_argument("--base", default="embedded", help="a base (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of task files; default the embedded tasks")
    parser.add_argument(
        "--tasks", help="tasks, with commas between; the contribution to the second one is backdoored"
    )


def chosen(given: Namespace) -> Pool:
    """Return the pool that the options ask for."""
    tasks = tuple(given.tasks.split(",")) if given.tasks else EMBEDDED
    name = Path(given.base).name
    folder = given.cache.resolve() / "pools" / (f"quick-{name}" if given.quick else name)
    return Pool(given.base, tasks[:2] if given.quick else tasks, given.data, folder, quick=given.quick)


def setting(one: Pool) -> dict[str, object]:
    """Return what the figures of a pool hold for."""
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "processors": os.cpu_count(),
        "threads": thread_count(),
        "contributions": len(one.tasks),
        "attack": ATTACK,
    }


def add(path: Path, name: str, content: Mapping[str, Any]) -> None:
    """Put the figures of one base into a file, in place of those that it has of this base."""
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, name: content}, indent=1) + "\n", encoding="utf-8")
