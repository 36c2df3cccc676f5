"""Measuring a model on tasks, with and without a trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.errors import UsageError
from mergeward.evaluate import Rate, accuracy, attack_success, predict
from mergeward.tasks import Task
from mergeward.workflow.opened import PreparedTask, open_base, open_task


@dataclass(frozen=True)
class Evaluation:
    """What a model does.

    Attributes:
        model: The model's path.
        accuracy: Accuracy on the test images of each task.
        attack_success: Success of the trigger on its task, over test images whose true class is not the
            target; None without a trigger.
        trigger: The trigger; None without one.
        repaired: The tasks that were measured with a surgery module.
    """

    model: str
    accuracy: dict[str, Rate]
    attack_success: Rate | None = None
    trigger: SavedTrigger | None = None
    repaired: tuple[str, ...] = ()

    @property
    def mean_accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(rate.value for rate in self.accuracy.values()) / len(self.accuracy)

    def to_json(self) -> dict[str, Any]:
        """Return the figures with plain values; rates lie between 0 and 1."""
        result: dict[str, Any] = {
            "model": self.model,
            "accuracy": self.mean_accuracy,
            "accuracy_by_task": {name: rate.value for name, rate in self.accuracy.items()},
            "accuracy_intervals": {name: list(rate.interval) for name, rate in self.accuracy.items()},
        }
        if self.repaired:
            result["surgery"] = list(self.repaired)
        if self.attack_success is not None and self.trigger is not None:
            low, high = self.attack_success.interval
            result |= {
                "attack": self.trigger.attack,
                "target_task": self.trigger.task,
                "target_class": self.trigger.target_class,
                "asr": self.attack_success.value,
                "asr_low": low,
                "asr_high": high,
            }
        return result


def evaluate(
    model: str | Path,
    tasks: Sequence[str | Path | Task],
    *,
    trigger: str | Path | None = None,
    data: str | Path | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure a model's accuracy, and the success of a trigger on it.

    Where surgery modules lie beside the model's weights, a task is measured with its own.

    Args:
        model: `embedded`, a Hugging Face CLIP directory, or a hub id.
        tasks: Tasks to measure on; only their test images are used.
        trigger: Folder of a contribution with `trigger.safetensors` and `trigger.json`. Its task must be one
            of `tasks`.
        data: Folder of task files.
        seed: Seed of the tasks' splits.

    Raises:
        CheckpointError: The model or the trigger cannot be read.
        DataError: A task cannot be read.
        UsageError: There is no such task, or the trigger is for none of the tasks.
    """
    if not tasks:
        raise UsageError("no task to measure on")
    clip = open_base(model)
    saved = None if trigger is None else load_trigger(trigger)
    prepared = [PreparedTask(open_task(task, data, seed), clip) for task in tasks]
    if saved is not None and saved.task not in {one.task.name for one in prepared}:
        raise UsageError(f"{trigger}: the trigger is for task {saved.task!r}, which is not measured")
    rates = {one.task.name: _accuracy(one) for one in prepared}
    target = next((one for one in prepared if saved is not None and one.task.name == saved.task), None)
    success = None if saved is None or target is None else _success(target, saved)
    return Evaluation(
        str(model), rates, success, saved, tuple(name for name in rates if name in clip.repairs)
    )


def _accuracy(prepared: PreparedTask) -> Rate:
    encoder = prepared.clip.encoder_for(prepared.task.name)
    predicted = predict(encoder, prepared.pixels("test"), prepared.head)
    return accuracy(predicted, prepared.labels("test"))


def _success(prepared: PreparedTask, saved: SavedTrigger) -> Rate:
    target = prepared.task.class_index(saved.target_class)
    encoder = prepared.clip.encoder_for(prepared.task.name)
    predicted = predict(encoder, prepared.pixels("test"), prepared.head, saved.trigger)
    return attack_success(predicted, prepared.labels("test"), target)
