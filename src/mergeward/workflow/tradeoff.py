"""What safety costs: a merge at several weights alpha of its safety loss, each measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.checkpoint import whole_tensors
from mergeward.compute import use_threads
from mergeward.errors import UsageError
from mergeward.evaluate import Rate, accuracy, attack_success, predict
from mergeward.evaluate.rate import Z_95
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.progress import track
from mergeward.recipe import Recipe
from mergeward.vision import Clip, repaired
from mergeward.workflow.job import as_recipe, checked_method, open_job
from mergeward.workflow.opened import PreparedTask, open_base, open_task

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Measured:
    """What one model does.

    Attributes:
        accuracy: Accuracy on each task.
        attack_success: Success of the trigger on its task, over images whose true class is not the target.
        collapsed: Tasks whose predictions collapsed onto few classes, with what happened in words.
    """

    accuracy: Mapping[str, Rate]
    attack_success: Rate
    collapsed: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean_accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(rate.value for rate in self.accuracy.values()) / len(self.accuracy)

    @property
    def mean_interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by the normal approximation: images of each task are drawn apart."""
        variances = [rate.value * (1 - rate.value) / rate.trials for rate in self.accuracy.values()]
        half = Z_95 * math.sqrt(sum(variances)) / len(variances)
        return max(0.0, self.mean_accuracy - half), min(1.0, self.mean_accuracy + half)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; rates lie between 0 and 1."""
        return {
            "accuracy": self.mean_accuracy,
            "accuracy_interval": list(self.mean_interval),
            "accuracy_by_task": {name: rate.value for name, rate in self.accuracy.items()},
            "asr": self.attack_success.value,
            "asr_interval": list(self.attack_success.interval),
            "collapsed": dict(self.collapsed),
        }


@dataclass(frozen=True)
class Point:
    """One merge of the curve.

    Attributes:
        alpha: Weight of the safety loss.
        merge: The merge with the backdoored contribution.
        control: The merge with a clean contribution in its place, under the same trigger; None without one.
    """

    alpha: float
    merge: Measured
    control: Measured | None


@dataclass(frozen=True)
class Tradeoff:
    """The curve over alpha.

    Attributes:
        method: Merge method.
        trigger: The trigger, and what it is for.
        split: The images that were measured on.
        points: One for each alpha, in the order asked for.
        base: The base alone, under the same trigger: what the trigger does without any contribution.
    """

    method: str
    trigger: SavedTrigger
    split: Split
    points: tuple[Point, ...]
    base: Measured

    def to_json(self) -> dict[str, Any]:
        """Return plain values; rates lie between 0 and 1."""
        return {
            "method": self.method,
            "attack": self.trigger.attack,
            "target_task": self.trigger.task,
            "target_class": self.trigger.target_class,
            "split": self.split,
            "base": self.base.to_json(),
            "points": [
                {
                    "alpha": point.alpha,
                    **point.merge.to_json(),
                    "control": None if point.control is None else point.control.to_json(),
                }
                for point in self.points
            ],
        }


def tradeoff(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    alphas: Sequence[float],
    trigger: str | Path,
    *,
    clean: str | Path | None = None,
    split: Split = "validation",
    threads: int | None = None,
) -> Tradeoff:
    """Merge a recipe at several alphas, and measure accuracy and attack success of each.

    No model is written. Choose alpha on validation images; the test images are for reporting.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`; its method has an `alpha`.
        alphas: Weights of the safety loss, each 0 or more.
        trigger: Folder of the backdoored contribution, with its trigger; one of the recipe's models where
            `clean` is given.
        clean: A clean contribution to put in its place, as the control.
        split: Images to measure on.
        threads: On how many threads; by default `MERGEWARD_THREADS`, or two.

    Raises:
        UsageError: The method has no alpha, no or a repeated alpha is given, the trigger is for none of the
            recipe's tasks, or there is nothing to put `clean` in place of.
        RecipeError: The recipe is malformed, or an alpha out of range.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
        DataError: A task cannot be read.

    Example:
        >>> tradeoff("recipe.yaml", [0, 0.1, 1], "contributions/poisoned")  # doctest: +SKIP
    """
    recipe = as_recipe(recipe)
    recipes = {alpha: _at(recipe, alpha) for alpha in _checked(recipe, alphas)}
    saved = load_trigger(trigger)
    controls = {} if clean is None else {a: _replaced(one, trigger, clean) for a, one in recipes.items()}
    with use_threads(threads):
        stage = _Stage.of(recipe, saved, split)
        numbers = track(list(recipes), "tradeoff: merges")
        points = tuple(
            Point(
                alpha,
                stage.merge_and_measure(recipes[alpha]),
                stage.merge_and_measure(controls[alpha]) if controls else None,
            )
            for alpha in numbers
        )
        return Tradeoff(recipe.merge_method, saved, split, points, stage.measure(stage.clip.encoder))


def _checked(recipe: Recipe, alphas: Sequence[float]) -> Sequence[float]:
    info, _ = checked_method(recipe)
    if "alpha" not in info.parameters.model_fields:
        raise UsageError(f"{info.name} has no alpha to vary; dam has")
    if recipe.masks is not None:
        raise UsageError("recipe: masks: alpha has a say in the learning of masks alone; leave them out")
    if not alphas or len(set(alphas)) < len(alphas):
        raise UsageError(f"alpha: expected different numbers, found {list(alphas)}")
    for alpha in alphas:
        checked_method(_at(recipe, alpha))
    return alphas


def _at(recipe: Recipe, alpha: float) -> Recipe:
    return recipe.model_copy(update={"parameters": {**recipe.parameters, "alpha": alpha}})


def _replaced(recipe: Recipe, attacker: str | Path, clean: str | Path) -> Recipe:
    def same(model: str) -> bool:
        return Path(model).resolve() == Path(attacker).resolve()

    if not any(same(entry.model) for entry in recipe.models):
        raise UsageError(
            f"{attacker}: none of the recipe's models, so that nothing is there to put {clean} for"
        )
    models = tuple(
        entry.model_copy(update={"model": str(clean)}) if same(entry.model) else entry
        for entry in recipe.models
    )
    return recipe.model_copy(update={"models": models})


@dataclass(frozen=True)
class _Stage:
    """What all merges of a curve share."""

    clip: Clip
    tasks: Sequence[PreparedTask]
    unlabelled: Sequence[UnlabelledTask]
    pixels: Mapping[str, Tensor]
    trigger: SavedTrigger
    split: Split

    @classmethod
    def of(cls, recipe: Recipe, trigger: SavedTrigger, split: Split) -> _Stage:
        clip = open_base(recipe.base)
        entries = recipe.contributions(needs_base=True).values()
        specs = dict.fromkeys(entry.task for entry in entries if entry.task is not None)
        tasks = [PreparedTask(open_task(spec, recipe.data, recipe.seed), clip) for spec in specs]
        names = [one.task.name for one in tasks]
        if trigger.task not in names:
            raise UsageError(f"the trigger is for task {trigger.task!r}, the recipe for {', '.join(names)}")
        pixels = {one.task.name: one.pixels(split) for one in tasks}
        return cls(clip, tasks, [one.unlabelled() for one in tasks], pixels, trigger, split)

    def merge_and_measure(self, recipe: Recipe) -> Measured:
        with ExitStack() as stack:
            job = open_job(recipe, stack)
            merged = job.run(self.clip, self.unlabelled, torch.float32)
            tensors = whole_tensors(job.base, merged.pieces)
            state = {name: tensor for name, tensor in tensors if name in job.scope}
        encoder = self.clip.encoder_with(state)
        return self.measure(encoder, merged.repairs, merged.record.get("collapsed", {}))

    def measure(
        self,
        encoder: torch.nn.Module,
        repairs: Mapping[str, Any] | None = None,
        collapsed: Mapping[str, str] | None = None,
    ) -> Measured:
        rates, success = {}, None
        for one in self.tasks:
            name, labels = one.task.name, one.labels(self.split)
            own = repaired(encoder, repairs or {}, name)
            rates[name] = accuracy(predict(own, self.pixels[name], one.head), labels)
            if name == self.trigger.task:
                predicted = predict(own, self.pixels[name], one.head, self.trigger.trigger)
                target = one.task.class_index(self.trigger.target_class)
                success = attack_success(predicted, labels, target)
        if success is None:
            raise UsageError(f"the trigger is for task {self.trigger.task!r}, which is not measured")
        return Measured(rates, success, collapsed or {})
