"""Measuring a model on tasks, with and without a trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.errors import UsageError
from mergeward.evaluate import Difference, Rate, accuracy, attack_success, predict, transfer
from mergeward.tasks import Task
from mergeward.workflow.opened import PreparedTask, open_base, open_task


@dataclass(frozen=True)
class Evaluation:
    """What a model does.

    Attributes:
        model: The model's path.
        accuracy: Accuracy on the test images of each task.
        attack_success: Success of the trigger on the task that it attacks, over test images whose true class
            is not the target. After a merge it is what DAM calls succession. None without a trigger.
        transfer: Success of the trigger on each other task for the class of the target's number there; see
            `mergeward.evaluate.transfer`.
        trigger: The trigger; None without one.
        caution: What the trigger's success has to be read with, where it was made for images prepared
            otherwise than this model's; None else.
        control: The same measured on a model that no attacker touched; None without one.
    """

    model: str
    accuracy: dict[str, Rate]
    attack_success: Rate | None = None
    transfer: dict[str, Rate] = field(default_factory=dict)
    trigger: SavedTrigger | None = None
    caution: str | None = None
    control: Evaluation | None = None

    @property
    def mean_accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(rate.value for rate in self.accuracy.values()) / len(self.accuracy)

    @property
    def over_control(self) -> Difference | None:
        """Attack success less that of the same trigger on the control; None without one."""
        if self.attack_success is None or self.control is None or self.control.attack_success is None:
            return None
        return Difference(self.attack_success, self.control.attack_success)

    def to_json(self) -> dict[str, Any]:
        """Return the figures with plain values; rates lie between 0 and 1."""
        result: dict[str, Any] = {
            "model": self.model,
            "accuracy": self.mean_accuracy,
            "accuracy_by_task": {name: rate.value for name, rate in self.accuracy.items()},
            "accuracy_intervals": {name: list(rate.interval) for name, rate in self.accuracy.items()},
        }
        if self.attack_success is not None and self.trigger is not None:
            result |= {
                "attack": self.trigger.attack,
                "target_task": self.trigger.task,
                "target_class": self.trigger.target_class,
                **_named("asr", self.attack_success),
                "transfer": {name: _named("asr", rate) for name, rate in self.transfer.items()},
                "caution": self.caution,
            }
        if self.over_control is not None and self.control is not None:
            result |= {"control": self.control.to_json(), **_named("asr_over_control", self.over_control)}
        return result


def _named(name: str, rate: Rate | Difference) -> dict[str, float]:
    low, high = rate.interval
    return {name: rate.value, f"{name}_low": low, f"{name}_high": high}


def evaluate(
    model: str | Path,
    tasks: Sequence[str | Path | Task],
    *,
    trigger: str | Path | None = None,
    control: str | Path | None = None,
    data: str | Path | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure a model's accuracy, and the success of a trigger on it.

    Args:
        model: `embedded`, a Hugging Face CLIP directory, or a hub id.
        tasks: Tasks to measure on; only their test images are used.
        trigger: Folder of a contribution with `trigger.safetensors` and `trigger.json`. The task that it
            attacks must be one of `tasks`.
        control: A model to measure the same on: the merge of the same contributions with a clean one in the
            attacker's place. What the trigger does there is not the backdoor's doing.
        data: Folder of task files.
        seed: Seed of the tasks' splits.

    Raises:
        CheckpointError: A model or the trigger cannot be read.
        DataError: A task cannot be read.
        UsageError: There is no such task, the trigger is for none of them, or a control without a trigger.
    """
    if not tasks:
        raise UsageError("no task to measure on")
    if control is not None and trigger is None:
        raise UsageError("a control is there to measure a trigger on; no trigger was given")
    saved = None if trigger is None else load_trigger(trigger)
    opened = [open_task(task, data, seed) for task in tasks]
    if saved is not None and saved.task not in {task.name for task in opened}:
        raise UsageError(f"{trigger}: the trigger is for task {saved.task!r}, which is not measured")
    measured = _measured(model, opened, saved)
    return measured if control is None else replace(measured, control=_measured(control, opened, saved))


def _measured(model: str | Path, tasks: Sequence[Task], saved: SavedTrigger | None) -> Evaluation:
    clip = open_base(model)
    prepared = {task.name: PreparedTask(task, clip) for task in tasks}
    rates = {name: accuracy(_predicted(one), one.labels("test")) for name, one in prepared.items()}
    if saved is None:
        return Evaluation(str(model), rates)
    attacked = prepared[saved.task]
    target = attacked.task.class_index(saved.target_class)
    others = {name: one for name, one in prepared.items() if name != saved.task}
    return Evaluation(
        str(model),
        rates,
        attack_success=attack_success(_predicted(attacked, saved), attacked.labels("test"), target),
        transfer=_transfers(others, saved, target),
        trigger=saved,
        caution=saved.unlike(clip.preprocessor),
    )


def _transfers(tasks: Mapping[str, PreparedTask], saved: SavedTrigger, target: int) -> dict[str, Rate]:
    found = {
        name: transfer(_predicted(one, saved), one.labels("test"), target, len(one.task.class_names))
        for name, one in tasks.items()
    }
    return {name: rate for name, rate in found.items() if rate is not None}


def _predicted(one: PreparedTask, saved: SavedTrigger | None = None) -> Tensor:
    trigger = None if saved is None else saved.trigger
    return predict(one.clip.encoder, one.pixels("test"), one.head, trigger)
