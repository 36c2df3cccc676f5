"""A merge whose recipe, files and settings have been checked, ready to run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mergeward.checkpoint import (
    Adapter,
    Checkpoint,
    Floats,
    Piece,
    check_compatible,
    open_contribution,
    resolve_scope,
)
from mergeward.errors import RecipeError
from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask
from mergeward.merge.adaptive.learning import Store
from mergeward.merge.layers import check_slices
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.merge.registry import method
from mergeward.merge.schedule import check_parameters, schedule
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import StaticMerge, StaticProblem
from mergeward.merge.stream import check_static, merge_static
from mergeward.provenance import Provenance
from mergeward.recipe import ModelEntry, Recipe, as_given, load_recipe
from mergeward.vision import Clip
from mergeward.workflow.opened import open_base_file, with_weights

BASE = "base"
"""What the base is called among the inputs of a merge."""

CPU = torch.device("cpu")


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
        recorded: Its settings as the output's provenance record has them.
        device: Where to compute.
    """

    info: MethodInfo
    schedule: Schedule[Any, Any]
    base: Checkpoint
    contributions: Sequence[Checkpoint | Adapter]
    names: Sequence[str]
    scope: Sequence[str]
    seed: int
    recorded: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = CPU

    def check(self) -> StaticMerge | None:
        """Let a static method check its settings, as it does before it reads a tensor.

        Returns:
            The merge, if the method is static and needs no tensor read first.

        Raises:
            RecipeError: The settings do not go together.
            UnsupportedError: The method does not apply to these models.
        """
        return check_static(self._weights(), self.info, self.schedule) if self.info.kind == "static" else None

    def run(
        self,
        clip: Clip | None,
        tasks: Sequence[UnlabelledTask],
        dtype: torch.dtype | None = None,
        done: Collection[str] = (),
        store: Store | None = None,
    ) -> tuple[Iterator[Piece], dict[str, Any]]:
        """Merge.

        Args:
            clip: The base as an encoder; needed by adaptive methods.
            tasks: Unlabelled images and heads; needed by adaptive methods.
            dtype: Type of the floating output tensors; by default the base's.
            done: Tensors to leave out.
            store: Where an adaptive method keeps what it has learnt.

        Returns:
            The pieces of the output, tensor by tensor in the base's file order, and what the method learnt.
        """
        if self.info.kind == "static" or clip is None:
            return merge_static(self._weights(), self.info, self.schedule, dtype=dtype, done=done), {}
        problem = AdaptiveProblem(
            encoder=clip.encoder,
            base=Floats(self.base, self.scope),
            contributions=[Floats(contribution, self.scope) for contribution in self.contributions],
            names=self.names,
            tasks=tasks,
            seed=self.seed,
            device=self.device,
            store=store,
        )
        result = self.info.run(problem, self.schedule.default.parameters)
        return with_weights(self.base, result.weights, dtype, done), result.record

    def provenance(self, inputs: Mapping[str, str]) -> Provenance:
        """Return the record of its output.

        Args:
            inputs: SHA-256 of the base and of every contribution, by name.
        """
        marked = self.backdoored
        return Provenance(
            kind="merge",
            method=self.info.name,
            parameters=dict(self.recorded),
            seed=self.seed,
            inputs=dict(inputs),
            backdoor=bool(marked),
            backdoored_inputs=marked,
        )

    @property
    def backdoored(self) -> tuple[str, ...]:
        """Names of the contributions that are marked as backdoored."""
        records = [Provenance.from_metadata(one.metadata) for one in self.contributions]
        return tuple(
            name
            for name, record in zip(self.names, records, strict=True)
            if record is not None and record.backdoor
        )

    def _weights(self) -> StaticProblem:
        return StaticProblem(
            self.base, self.contributions, self.scope, self.names, self.seed, device=self.device
        )


def as_recipe(recipe: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    """Return a checked recipe from a path, a mapping, or a recipe."""
    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.model_validate(recipe) if isinstance(recipe, Mapping) else load_recipe(recipe)


def open_job(recipe: Recipe, stack: ExitStack, *, device: torch.device = CPU) -> MergeJob:
    """Check a recipe against its method and files.

    Args:
        recipe: What to merge.
        stack: Closes the checkpoints.
        device: Where to compute.

    Raises:
        UsageError: There is no such method.
        RecipeError: A parameter is unknown or out of range, or a contribution lacks the task that the
            method needs.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
    """
    info, entries = checked_method(recipe)
    base = stack.enter_context(open_base_file(recipe.base))
    contributions = [_contribution(entry.model, base, stack) for entry in entries.values()]
    scope = resolve_scope(recipe.scope, base)
    check_compatible(base, contributions, scope)
    if recipe.slices is not None:
        check_slices(recipe.slices, scope)
    per_model = {key: entry.parameters for key, entry in entries.items()}
    settings = schedule(info, recipe.parameters, per_model, scope)
    names = distinct_names([entry.model for entry in entries.values()])
    recorded = _recorded(recipe, settings, dict(zip(names, entries.values(), strict=True)), device)
    return MergeJob(
        info, settings, base, contributions, names, scope, recipe.seed, recorded=recorded, device=device
    )


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


def distinct_names(models: Sequence[str]) -> list[str]:
    """Return the last part of each path, numbered where two (or one and the base) would be the same."""
    short = [Path(model).name or model for model in models]
    numbered = [f"{name} ({index + 1})" for index, name in enumerate(short)]
    taken = [BASE, *short]
    names = [long if taken.count(name) > 1 else name for name, long in zip(short, numbered, strict=True)]
    return names if len(set(names)) == len(names) else numbered


def _contribution(model: str, base: Checkpoint, stack: ExitStack) -> Checkpoint | Adapter:
    contribution = open_contribution(model, base)
    stack.callback(contribution.close)
    return contribution


def _recorded(
    recipe: Recipe, settings: Schedule[Any, Any], entries: Mapping[str, ModelEntry], device: torch.device
) -> dict[str, Any]:
    """Return everything that was set; what differs from tensor to tensor as the recipe has it."""
    parameters, models = settings.default
    each = {
        name: {**_dump(own), **as_given(_keys(own), entry.parameters, recipe.parameters)}
        for (name, entry), own in zip(entries.items(), models, strict=True)
    }
    place = {} if device.type == "cpu" else {"device": device.type}
    own = {**_dump(parameters), **as_given(_keys(parameters), recipe.parameters)}
    return {**own, "models": each, "scope": recipe.scope, **place}


def _dump(parameters: Parameters) -> dict[str, Any]:
    return parameters.model_dump(mode="json", by_alias=True)


def _keys(parameters: Parameters) -> list[str]:
    return [field.alias or name for name, field in type(parameters).model_fields.items()]
