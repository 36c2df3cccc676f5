"""From a recipe to a merged model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint import (
    Checkpoint,
    Piece,
    check_compatible,
    open_checkpoint,
    resolve_scope,
    vacant,
    write_checkpoint,
)
from mergeward.errors import RecipeError
from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask
from mergeward.merge.layers import check_slices
from mergeward.merge.method import MethodInfo
from mergeward.merge.registry import method
from mergeward.merge.schedule import check_parameters, schedule
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import StaticProblem
from mergeward.merge.stream import merge_static
from mergeward.provenance import Provenance, model_card
from mergeward.recipe import ModelEntry, Recipe, load_recipe
from mergeward.vision import Clip
from mergeward.workflow.opened import PreparedTask, open_base, open_base_file, open_task, with_weights

BASE = "base"
"""What the base is called among the inputs of a merge."""


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        out: The folder that was written.
        method: Merge method.
        inputs: SHA-256 of the base and of every contribution.
        backdoored_inputs: Contributions that say of themselves that they carry a backdoor.
        record: What an adaptive method learnt (coefficients, losses); empty for static ones.
    """

    out: Path
    method: str
    inputs: Mapping[str, str]
    backdoored_inputs: tuple[str, ...]
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class MergeJob:
    """A recipe whose names, files, shapes and parameters have been checked; no tensor has been read.

    Attributes:
        info: The merge method.
        schedule: Its parameters, and those of each contribution, for every tensor.
        base: The base, open.
        contributions: The contributions, open.
        names: How to call the contributions.
        scope: Names of the tensors that take part.
        seed: Seed of everything random.
    """

    info: MethodInfo
    schedule: Schedule[Any, Any]
    base: Checkpoint
    contributions: Sequence[Checkpoint]
    names: Sequence[str]
    scope: Sequence[str]
    seed: int

    def run(
        self, clip: Clip | None, tasks: Sequence[UnlabelledTask], dtype: torch.dtype | None = None
    ) -> tuple[Iterator[Piece], dict[str, Any]]:
        """Merge.

        Args:
            clip: The base as an encoder; needed by adaptive methods.
            tasks: Unlabelled images and heads; needed by adaptive methods.
            dtype: Type of the floating output tensors; by default the base's.

        Returns:
            The pieces of the output, tensor by tensor in the base's file order, and what the method learnt.
        """
        if self.info.kind == "static" or clip is None:
            weights = StaticProblem(self.base, self.contributions, self.scope, self.names, self.seed)
            return merge_static(weights, self.info, self.schedule, dtype=dtype), {}
        problem = AdaptiveProblem(
            encoder=clip.encoder,
            base=_floats(self.base, self.scope),
            contributions=[_floats(contribution, self.scope) for contribution in self.contributions],
            names=self.names,
            tasks=tasks,
            seed=self.seed,
        )
        result = self.info.run(problem, self.schedule.default.parameters)
        return with_weights(self.base, result.weights, dtype), result.record


def merge(recipe: Recipe | Mapping[str, Any] | str | Path, out: str | Path) -> MergeReport:
    """Merge the contributions of a recipe into its base and write the result.

    Everything that can be wrong with the recipe is found before the first tensor is read.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`.
        out: Folder to write, in Hugging Face layout; must not exist.

    Returns:
        What was merged.

    Raises:
        RecipeError: The recipe is malformed.
        UsageError: There is no such method or task.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
        UnsupportedError: The method does not apply to these models.
        OutputError: `out` cannot be written.

    Example:
        >>> merge("recipe.yaml", "merged")  # doctest: +SKIP
    """
    recipe = as_recipe(recipe)
    with ExitStack() as stack:
        job = open_job(recipe, stack)
        vacant(out)
        clip, tasks = _images(job.info, recipe)
        inputs = {BASE: job.base.digest()}
        inputs |= {name: one.digest() for name, one in zip(job.names, job.contributions, strict=True)}
        tensors, learnt = job.run(clip, tasks, recipe.torch_dtype)
        record = Provenance(
            kind="merge",
            method=job.info.name,
            parameters=_settings(job),
            seed=recipe.seed,
            inputs=inputs,
            backdoor=bool(marked := backdoored(job)),
            backdoored_inputs=marked,
        )
        title = f"{job.info.name} of {len(job.names)} contributions"
        card = model_card(record, title=title, base_model=recipe.base, contributions=job.names)
        write_checkpoint(
            out,
            tensors,
            like=job.base,
            metadata=record.to_metadata(),
            card=card,
            dtype=recipe.torch_dtype,
        )
    return MergeReport(Path(out), job.info.name, inputs, marked, learnt)


def as_recipe(recipe: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    """Return a checked recipe from a path, a mapping, or a recipe."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.model_validate(recipe) if isinstance(recipe, Mapping) else load_recipe(recipe)


def open_job(recipe: Recipe, stack: ExitStack) -> MergeJob:
    """Check a recipe against its method and files.

    Args:
        recipe: What to merge.
        stack: Closes the checkpoints.

    Raises:
        UsageError: There is no such method.
        RecipeError: A parameter is unknown or out of range, or a contribution lacks the task that the
            method needs.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
    """
    info, entries = checked_method(recipe)
    base = stack.enter_context(open_base_file(recipe.base))
    contributions = [stack.enter_context(open_checkpoint(entry.model)) for entry in entries.values()]
    scope = resolve_scope(recipe.scope, base)
    check_compatible(base, contributions, scope)
    if recipe.slices is not None:
        check_slices(recipe.slices, scope)
    per_model = {key: entry.parameters for key, entry in entries.items()}
    settings = schedule(info, recipe.parameters, per_model, scope)
    names = distinct_names([entry.model for entry in entries.values()])
    return MergeJob(info, settings, base, contributions, names, scope, recipe.seed)


def checked_method(recipe: Recipe) -> tuple[MethodInfo, dict[str, ModelEntry]]:
    """Check what a recipe asks for before any file is opened.

    Args:
        recipe: What to merge.

    Returns:
        The method, and the contributions by their keys in the recipe.

    Raises:
        UsageError: There is no such method.
        RecipeError: A parameter is unknown or out of range, a contribution lacks the task that the method
            needs, or the base is missing.
    """
    info = method(recipe.merge_method)
    if info.needs_base and recipe.base_model is None:
        raise RecipeError(f"recipe: base_model: missing; {info.name} merges what differs from it")
    entries = recipe.contributions(needs_base=info.needs_base)
    check_parameters(info, recipe.parameters, {key: entry.parameters for key, entry in entries.items()})
    if info.needs_images:
        for key, entry in entries.items():
            if entry.task is None:
                raise RecipeError(f"{key}.task: missing; {info.name} learns from images of each task")
    return info, entries


def backdoored(job: MergeJob) -> tuple[str, ...]:
    """Return the names of the contributions that are marked as backdoored."""
    records = [Provenance.from_metadata(one.metadata) for one in job.contributions]
    return tuple(
        name
        for name, record in zip(job.names, records, strict=True)
        if record is not None and record.backdoor
    )


def distinct_names(models: Sequence[str]) -> list[str]:
    """Return the last part of each path, numbered where two (or one and the base) would be the same."""
    short = [Path(model).name or model for model in models]
    numbered = [f"{name} ({index + 1})" for index, name in enumerate(short)]
    taken = [BASE, *short]
    names = [long if taken.count(name) > 1 else name for name, long in zip(short, numbered, strict=True)]
    return names if len(set(names)) == len(names) else numbered


def _images(info: MethodInfo, recipe: Recipe) -> tuple[Clip | None, list[UnlabelledTask]]:
    if not info.needs_images:
        return None, []
    clip = open_base(recipe.base)
    entries = recipe.contributions(needs_base=info.needs_base).values()
    specs = dict.fromkeys(entry.task for entry in entries if entry.task is not None)
    return clip, [
        PreparedTask(open_task(spec, recipe.data, recipe.seed), clip).unlabelled() for spec in specs
    ]


def _settings(job: MergeJob) -> dict[str, Any]:
    parameters, models = job.schedule.default
    each = {
        name: own.model_dump(mode="json", by_alias=True) for name, own in zip(job.names, models, strict=True)
    }
    return {**parameters.model_dump(mode="json", by_alias=True), "models": each}


def _floats(checkpoint: Checkpoint, scope: Sequence[str]) -> dict[str, Tensor]:
    return {name: checkpoint.read(name).float() for name in scope}
