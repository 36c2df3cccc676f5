"""Models to run: the base, and merges of any of the contributions, with images and heads of their tasks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.audit.fortified import FORTIFY, why_not_fortified
from mergeward.checkpoint import Adapter, Checkpoint, Floats, whole_tensors
from mergeward.errors import CheckpointError, DataError, UnsupportedError
from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask
from mergeward.merge.adaptive.tuning import tune
from mergeward.merge.method import MethodInfo
from mergeward.merge.registry import method
from mergeward.merge.schedule import schedule
from mergeward.merge.static.problem import StaticProblem
from mergeward.merge.stream import merge_static
from mergeward.recipe import ModelEntry, Recipe
from mergeward.vision import Clip, ClipEncoder
from mergeward.workflow.opened import PreparedTask, open_base, open_task

STAND_IN = "task_arithmetic"
"""Merges in place of a method that learns, or that is not defined for so few contributions."""


@dataclass(frozen=True)
class Laboratory:
    """What stages that run models work with.

    Attributes:
        clip: The base.
        tasks: The tasks that contributions claim: adapt images without labels, and zero-shot heads.
        class_names: Of each task.
        claims: By contribution, the name of its task; those that claim none are left out.
        recipe: What is audited.
    """

    clip: Clip
    tasks: Sequence[UnlabelledTask]
    class_names: Sequence[Sequence[str]]
    claims: Mapping[str, str]
    recipe: Recipe
    entries: Mapping[str, ModelEntry]

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.recipe.seed

    def stand_in(self, size: int) -> str | None:
        """Return why `STAND_IN` merges a pool in place of the recipe's method; None where that does.

        The choice is one for the pool and for what is left of it without any one contribution: differences
        between merges by two methods would count as that contribution's.

        Args:
            size: How many contributions the pool has.
        """
        info = method(self.recipe.merge_method)
        if info.kind != "static":
            return f"{info.name} learns from images; {STAND_IN} stood in for it"
        from_one_to_another = size > 1 and info.max_contributions is not None
        if from_one_to_another or max(size - 1, 1) < info.min_contributions:
            return (
                f"{info.name} merges what is left without one of {size} otherwise, or not at all; "
                f"{STAND_IN} stood in for it in all merges"
            )
        return None

    def base(self) -> ClipEncoder:
        """Return the base's encoder, its parameters frozen."""
        return _frozen(self.clip.encoder)

    def merged(
        self,
        base: Checkpoint,
        contributions: Mapping[str, Checkpoint | Adapter],
        scope: Sequence[str],
        *,
        size: int,
    ) -> ClipEncoder:
        """Return the encoder of a merge, its parameters frozen.

        Args:
            base: The base as a file.
            contributions: What to merge, by name; with none it is the base.
            scope: Names of the tensors that take part.
            size: How many contributions the pool has that these are of, as in `stand_in`.
        """
        if not contributions:
            return self.base()
        own = dict(self.clip.encoder.named_parameters())
        problem = StaticProblem(
            base, list(contributions.values()), scope, list(contributions), self.recipe.seed
        )
        info, parameters, per_model = self._method(list(contributions), size)
        settings = schedule(info, parameters, per_model, scope)
        outside = [name for name in base.tensors if name not in own]
        pieces = merge_static(problem, info, settings, dtype=torch.float32, done=outside)
        weights: dict[str, Tensor] = {name: value.float() for name, value in whole_tensors(base, pieces)}
        return _frozen(self.clip.encoder_with(weights))

    def fortified(self, base: Checkpoint, contributions: Mapping[str, Checkpoint | Adapter]) -> ClipEncoder:
        """Return the encoder of the fortified merge, its parameters frozen.

        Args:
            base: The base as a file.
            contributions: What to merge, by name; one or more.

        Raises:
            UnsupportedError: The recipe cannot be fortified.
            DataError: A task has too few images.
        """
        reason = why_not_fortified(self.recipe)
        if reason is not None:
            raise UnsupportedError(reason)
        scope = [name for name, _ in self.clip.encoder.named_parameters()]
        problem = AdaptiveProblem(
            encoder=self.clip.encoder,
            base=Floats(base, scope),
            contributions=[Floats(one, scope) for one in contributions.values()],
            names=list(contributions),
            tasks=self.tasks,
            seed=self.seed,
            claims=[self.claims[name] for name in contributions],
        )
        info = method(FORTIFY)
        result = info.run(problem, info.parameters())
        return _frozen(self.clip.encoder_with(result.weights))

    def _method(
        self, names: Sequence[str], size: int
    ) -> tuple[MethodInfo, Mapping[str, object], list[Mapping[str, object]]]:
        """Return the method for a pool of a size, with its parameters and those of each contribution."""
        if self.stand_in(size) is not None:
            return method(STAND_IN), {}, [{} for _ in names]
        own: list[Mapping[str, object]] = [self.entries[name].parameters for name in names]
        return method(self.recipe.merge_method), self.recipe.parameters, own


def open_laboratory(recipe: Recipe, entries: Mapping[str, ModelEntry]) -> Laboratory:
    """Open the base as a model, and the images of the tasks that contributions claim.

    Args:
        recipe: What is audited.
        entries: Its contributions, by the names that the report has for them.

    Raises:
        UnsupportedError: No contribution names a task, or the base is no CLIP; the text says which.
        DataError: A task cannot be read, or two have one name.
    """
    specs = dict.fromkeys(entry.task for entry in entries.values() if entry.task is not None)
    if not specs:
        raise UnsupportedError("no contribution names its task (models[].task in the recipe)")
    try:
        clip = open_base(recipe.base)
    except CheckpointError as error:
        raise UnsupportedError(f"the base cannot be run as a model: {error}") from error
    opened = {spec: open_task(spec, recipe.data, recipe.seed) for spec in specs}
    tasks = {task.name: task for task in opened.values()}
    if len(tasks) < len(opened):
        raise DataError(f"expected tasks of different names, found {[task.name for task in opened.values()]}")
    return Laboratory(
        clip,
        [PreparedTask(task, clip).unlabelled() for task in tasks.values()],
        [task.class_names for task in tasks.values()],
        {name: opened[entry.task].name for name, entry in entries.items() if entry.task is not None},
        recipe,
        entries,
    )


def _frozen(encoder: ClipEncoder) -> ClipEncoder:
    own = copy.deepcopy(encoder).requires_grad_(False).eval()
    tune(own, mixed=False)
    return own
