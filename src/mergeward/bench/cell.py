"""A cell: one pool of contributions, merged one way and measured. A pure function of its configuration."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mergeward.attack import SavedTrigger
from mergeward.cache import artefact
from mergeward.checkpoint import open_checkpoint, whole_tensors
from mergeward.evaluate import Rate, accuracy, attack_success, predict
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.surgery import Repair
from mergeward.provenance import package_version
from mergeward.recipe import Recipe
from mergeward.vision import Clip, ClipEncoder, repaired
from mergeward.workflow import PreparedTask
from mergeward.workflow.job import open_job

RESULT = "measured.json"


@dataclass(frozen=True)
class Stage:
    """What all cells of a grid share.

    Attributes:
        base: Path of the base.
        clip: The base, loaded.
        tasks: The tasks, prepared for the base, in the order of the contributions.
        triggers: The trigger of each attack, all on the same target task and class.
        target_task: Name of the attacked task.
        target_class: Label that triggered images are to be given.
        examples: Indices of the test images of the target task whose predictions are kept.
        seed: Seed of the merges.
    """

    base: Path
    clip: Clip
    tasks: Sequence[PreparedTask]
    triggers: Mapping[str, SavedTrigger]
    target_task: str
    target_class: int
    examples: Sequence[int]
    seed: int

    @property
    def target(self) -> PreparedTask:
        """The attacked task."""
        return next(one for one in self.tasks if one.task.name == self.target_task)

    @cached_property
    def unlabelled(self) -> list[UnlabelledTask]:
        """The adapt images of every task, with its head."""
        return [UnlabelledTask(one.task.name, one.pixels("adapt"), one.head) for one in self.tasks]

    @cached_property
    def test_pixels(self) -> dict[str, Tensor]:
        """The test images of every task."""
        return {one.task.name: one.pixels("test") for one in self.tasks}


@dataclass(frozen=True)
class Measured:
    """What was measured on one model.

    Attributes:
        accuracy: On each task that was measured.
        asr: Success of each attack's trigger on the target task.
        predictions: For each attack, labels predicted for the triggered example images.
        seconds: Time of the merge, without measuring.
    """

    accuracy: Mapping[str, Rate]
    asr: Mapping[str, Rate]
    predictions: Mapping[str, Sequence[int]]
    seconds: float = 0.0

    @property
    def mean_accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(rate.value for rate in self.accuracy.values()) / len(self.accuracy)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "accuracy": {name: [rate.successes, rate.trials] for name, rate in self.accuracy.items()},
            "asr": {name: [rate.successes, rate.trials] for name, rate in self.asr.items()},
            "predictions": {name: list(labels) for name, labels in self.predictions.items()},
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Measured:
        """Rebuild from `to_json`."""
        return cls(
            accuracy={name: Rate(*pair) for name, pair in content["accuracy"].items()},
            asr={name: Rate(*pair) for name, pair in content["asr"].items()},
            predictions=content["predictions"],
            seconds=content["seconds"],
        )


def merge_and_measure(
    stage: Stage,
    pool: Sequence[Path],
    method_name: str,
    parameters: Mapping[str, Any],
    surgery: Mapping[str, Any] | None = None,
) -> Measured:
    """Merge a pool and measure the result, or return what the cache holds of it.

    Args:
        stage: What all cells share.
        pool: Contribution folders, in the order of the stage's tasks.
        method_name: Merge method.
        parameters: Its parameters.
        surgery: Parameters of the surgery on top, if any.
    """
    configuration = {
        **_identity(stage),
        "pool": [_digest(path) for path in pool],
        "method": method_name,
        "parameters": dict(parameters),
        **({} if surgery is None else {"surgery": dict(surgery)}),
    }

    def make(folder: Path) -> None:
        measured = _merge_and_measure(stage, pool, method_name, parameters, surgery)
        (folder / RESULT).write_text(json.dumps(measured.to_json(), indent=2))

    return _cached(configuration, make)


def measure_model(stage: Stage, path: Path, tasks: Sequence[PreparedTask]) -> Measured:
    """Measure one model as it is (the base, or a contribution alone) on some tasks, through the cache."""
    configuration = {
        **_identity(stage),
        "model": _digest(path),
        "measured_on": [one.task.name for one in tasks],
    }

    def make(folder: Path) -> None:
        measured = _measure(stage, _encoder(stage, path), tasks, seconds=0.0)
        (folder / RESULT).write_text(json.dumps(measured.to_json(), indent=2))

    return _cached(configuration, make)


def _cached(configuration: Mapping[str, Any], make: Callable[[Path], None]) -> Measured:
    folder = artefact("cell", configuration, make)
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder)  # damaged after it was made: measured again
        return _read(artefact("cell", configuration, make))


def _read(folder: Path) -> Measured:
    return Measured.from_json(json.loads((folder / RESULT).read_text()))


def _identity(stage: Stage) -> dict[str, Any]:
    return {
        "version": package_version(),
        "base": stage.clip.source.digest(),
        "tasks": {one.task.name: one.task.fingerprint for one in stage.tasks},
        "triggers": {name: saved.fingerprint for name, saved in stage.triggers.items()},
        "target": [stage.target_task, stage.target_class],
        "examples": list(stage.examples),
        "seed": stage.seed,
    }


def _digest(path: Path) -> str:
    with open_checkpoint(path) as checkpoint:
        return checkpoint.digest()


def _merge_and_measure(
    stage: Stage,
    pool: Sequence[Path],
    method_name: str,
    parameters: Mapping[str, Any],
    surgery: Mapping[str, Any] | None,
) -> Measured:
    recipe = Recipe.model_validate(
        {
            "merge_method": method_name,
            "base_model": str(stage.base),
            "models": [
                {"model": str(path), "task": one.task.name}
                for path, one in zip(pool, stage.tasks, strict=True)
            ],
            "parameters": dict(parameters),
            "seed": stage.seed,
            **({} if surgery is None else {"surgery": dict(surgery)}),
        }
    )
    started = time.perf_counter()
    with ExitStack() as stack:
        job = open_job(recipe, stack)
        unlabelled = stage.unlabelled if job.learns else []
        merged = job.run(stage.clip, unlabelled, torch.float32)
        tensors = whole_tensors(job.base, merged.pieces)
        state = {name: tensor for name, tensor in tensors if name in job.scope}
    seconds = time.perf_counter() - started
    return _measure(stage, stage.clip.encoder_with(state), stage.tasks, seconds, merged.repairs)


def _encoder(stage: Stage, path: Path) -> ClipEncoder:
    with open_checkpoint(path) as checkpoint:
        names = stage.clip.encoder.state_dict()
        return stage.clip.encoder_with({name: checkpoint.read(name).float() for name in names})


def _measure(
    stage: Stage,
    encoder: ClipEncoder,
    tasks: Sequence[PreparedTask],
    seconds: float,
    repairs: Mapping[str, Repair] = MappingProxyType({}),
) -> Measured:
    rates = {}
    for one in tasks:
        pixels = stage.test_pixels[one.task.name]
        own = repaired(encoder, repairs, one.task.name)
        rates[one.task.name] = accuracy(predict(own, pixels, one.head), one.labels("test"))
    target = stage.target
    asr, predictions = {}, {}
    for name, saved in stage.triggers.items():
        pixels = stage.test_pixels[target.task.name]
        own = repaired(encoder, repairs, target.task.name)
        predicted = predict(own, pixels, target.head, saved.trigger)
        asr[name] = attack_success(predicted, target.labels("test"), stage.target_class)
        predictions[name] = [int(predicted[index]) for index in stage.examples]
    return Measured(rates, asr, predictions, seconds)
