"""A merge whose recipe, files and settings have been checked, ready to run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mergeward.checkpoint import (
    Adapter,
    Checkpoint,
    Floats,
    Piece,
    carries_mark,
    check_compatible,
    open_contribution,
    resolve_scope,
    whole_tensors,
)
from mergeward.errors import RecipeError, UnsupportedError
from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask
from mergeward.merge.adaptive.learning import Store
from mergeward.merge.adaptive.mask_parameters import MaskParameters
from mergeward.merge.adaptive.surgery import Repair, SurgeryParameters, operate
from mergeward.merge.layers import check_slices
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.merge.registry import method
from mergeward.merge.schedule import check_parameters, schedule
from mergeward.merge.settings import Schedule
from mergeward.merge.static.problem import StaticMerge, StaticProblem
from mergeward.merge.stream import check_static, merge_static
from mergeward.provenance import Provenance, printable
from mergeward.recipe import ModelEntry, Recipe, as_given, load_recipe, validated
from mergeward.tasks import check_task
from mergeward.vision import SURGERY, Clip
from mergeward.workflow.masks import check_masks, open_masks, read_masks
from mergeward.workflow.opened import open_base_file, with_weights

BASE = "base"
"""What the base is called among the inputs of a merge."""

MASKS_INPUT = "masks"
"""What saved masks are called there."""

CPU = torch.device("cpu")
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Merged(NamedTuple):
    """What a merge makes.

    Attributes:
        pieces: Every tensor of the output, in pieces.
        record: What an adaptive method learnt.
        repairs: Surgery modules by task.
        masks: Logits of learnt masks, by mask and tensor.
    """

    pieces: Iterable[Piece]
    record: Mapping[str, Any] = NOTHING
    repairs: Mapping[str, Repair] = MappingProxyType({})
    masks: Mapping[str, Mapping[str, Tensor]] = MappingProxyType({})


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
        tasks: The task that each contribution claims, as the recipe names it.
        surgery: Parameters of representation surgery, if it goes on top.
        masks: Saved masks to use, open.
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
    tasks: Sequence[str | None] = ()
    surgery: SurgeryParameters | None = None
    masks: Checkpoint | None = None

    @property
    def inputs(self) -> dict[str, Checkpoint | Adapter]:
        """Everything it reads, by the name that records have for it."""
        masks = {} if self.masks is None else {MASKS_INPUT: self.masks}
        return {BASE: self.base, **dict(zip(self.names, self.contributions, strict=True)), **masks}

    @property
    def learns(self) -> bool:
        """Whether it needs images, and with them all models in memory."""
        return self.info.needs_images or self.surgery is not None

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
    ) -> Merged:
        """Merge.

        Args:
            clip: The base as an encoder; needed where it `learns`.
            tasks: Unlabelled images and heads of each task of the recipe, in its order; needed where it
                `learns`.
            dtype: Type of the floating output tensors; by default the base's.
            done: Tensors to leave out.
            store: Where an adaptive method keeps what it has learnt.

        Returns:
            The merged tensors, in the base's file order, and what was learnt.
        """
        if not self.learns or clip is None:
            return Merged(merge_static(self._weights(), self.info, self.schedule, dtype=dtype, done=done))
        problem = self._problem(clip, tasks, store)
        if self.info.kind == "static":
            merged = Merged(merge_static(self._weights(), self.info, self.schedule, dtype=dtype))
        else:
            result = self.info.run(problem, self.schedule.default.parameters)
            left_out = () if self.surgery else done
            pieces = with_weights(self.base, result.weights, dtype, left_out)
            merged = Merged(pieces, result.record, masks=result.masks)
        return merged if self.surgery is None else self._operated(problem, merged, self.surgery, done)

    def _operated(
        self,
        problem: AdaptiveProblem,
        merged: Merged,
        parameters: SurgeryParameters,
        done: Collection[str],
    ) -> Merged:
        pieces = list(merged.pieces)
        weights = {name: tensor.float() for name, tensor in whole_tensors(self.base, pieces)}
        repairs, record = operate(problem, weights, parameters)
        pieces = [piece for piece in pieces if piece.name not in done]
        return merged._replace(pieces=pieces, record={**merged.record, "surgery": record}, repairs=repairs)

    def _problem(self, clip: Clip, tasks: Sequence[UnlabelledTask], store: Store | None) -> AdaptiveProblem:
        specs = list(dict.fromkeys(self.tasks))
        return AdaptiveProblem(
            encoder=clip.encoder,
            base=Floats(self.base, self.scope),
            contributions=[Floats(contribution, self.scope) for contribution in self.contributions],
            names=self.names,
            tasks=tasks,
            seed=self.seed,
            device=self.device,
            claims=[tasks[specs.index(spec)].name for spec in self.tasks],
            masks=None if self.masks is None else read_masks(self.masks),
            store=store,
        )

    def provenance(self, inputs: Mapping[str, str], learning: Mapping[str, Any] = NOTHING) -> Provenance:
        """Return the record of its output.

        Args:
            inputs: SHA-256 of the base and of every contribution, by name.
            learning: What else decides the outcome where it learns from images.
        """
        marked = self.backdoored
        return Provenance(
            kind="merge",
            method=self.info.name,
            package=self.info.package,
            parameters={**self.recorded, **learning},
            seed=self.seed,
            inputs=dict(inputs),
            backdoor=bool(marked),
            backdoored_inputs=marked,
        )

    @property
    def backdoored(self) -> tuple[str, ...]:
        """Names of the inputs that say they carry a backdoor, the base among them."""
        models = {BASE: self.base, **dict(zip(self.names, self.contributions, strict=True))}
        return tuple(name for name, model in models.items() if carries_mark(model))

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
    if learner(info, recipe) is not None:
        _check_learning(recipe, base, scope)
    if recipe.slices is not None:
        check_slices(recipe.slices, scope)
    per_model = {key: entry.parameters for key, entry in entries.items()}
    settings = schedule(info, recipe.parameters, per_model, scope)
    masks = None if recipe.masks is None else stack.enter_context(open_masks(recipe.masks))
    if masks is not None:
        check_masks(masks, _mask_names(settings.default.parameters), base, scope)
    names = distinct_names([entry.model for entry in entries.values()])
    recorded = _recorded(recipe, settings, dict(zip(names, entries.values(), strict=True)), device)
    return MergeJob(
        info,
        settings,
        base,
        contributions,
        names,
        scope,
        recipe.seed,
        recorded=recorded,
        device=device,
        tasks=[entry.task for entry in entries.values()],
        surgery=surgery_parameters(recipe),
        masks=masks,
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
            needs, the base is missing, or there are masks for a method that has none.
    """
    info = method(recipe.merge_method)
    if info.needs_base and recipe.base_model is None:
        raise RecipeError(f"recipe: base_model: missing; {info.name} merges what differs from it")
    entries = recipe.contributions(needs_base=info.needs_base)
    check_parameters(info, recipe.parameters, {key: entry.parameters for key, entry in entries.items()})
    if recipe.masks is not None and not info.learns_masks:
        raise RecipeError(f"recipe: masks: {info.name} has no masks to take from a file")
    on_images = learner(info, recipe)
    for key, entry in entries.items():
        if on_images is not None and entry.task is None:
            raise RecipeError(f"{key}.task: missing; {on_images} learns from images of each task")
    return info, entries


def learner(info: MethodInfo, recipe: Recipe) -> str | None:
    """Return what of a merge learns from images: the method, or surgery on top; None if nothing does."""
    if info.needs_images:
        return info.name
    return None if recipe.surgery is None else "surgery"


def surgery_parameters(recipe: Recipe) -> SurgeryParameters | None:
    """Return the checked parameters of the surgery that a recipe asks for, or None.

    Raises:
        RecipeError: A parameter is unknown or out of range.
    """
    if recipe.surgery is None:
        return None
    return validated(SurgeryParameters, recipe.surgery, where="surgery")


def distinct_names(models: Sequence[str]) -> list[str]:
    """Return the last part of each path, numbered where two (or one and another input) would be the same."""
    short = [printable(Path(model).name or model) for model in models]
    numbered = [f"{name} ({index + 1})" for index, name in enumerate(short)]
    taken = [BASE, MASKS_INPUT, *short]
    names = [long if taken.count(name) > 1 else name for name, long in zip(short, numbered, strict=True)]
    return names if len(set(names)) == len(names) else numbered


def _contribution(model: str, base: Checkpoint, stack: ExitStack) -> Checkpoint | Adapter:
    contribution = open_contribution(model, base)
    stack.callback(contribution.close)
    return contribution


def _check_learning(recipe: Recipe, base: Checkpoint, scope: Sequence[str]) -> None:
    """Check that the tasks are there, and that what takes part is the image tower of a CLIP.

    Raises:
        UsageError: There is no task of a name.
        DataError: There is no such file or folder.
        UnsupportedError: Another scope.
    """
    if set(scope) != set(resolve_scope("vision", base)):
        raise UnsupportedError(
            f"recipe: scope: {recipe.scope!r} takes in tensors of {base.name} beyond the image encoder; "
            "what learns from images merges that alone (scope: vision)"
        )
    for entry in recipe.models:
        if entry.task is not None:
            check_task(entry.task, data=None if recipe.data is None else Path(recipe.data))


def _mask_names(parameters: Parameters) -> tuple[str, ...]:
    return parameters.mask_names if isinstance(parameters, MaskParameters) else ()


def _recorded(
    recipe: Recipe, settings: Schedule[Any, Any], entries: Mapping[str, ModelEntry], device: torch.device
) -> dict[str, Any]:
    """Return everything that was set; what differs from tensor to tensor as the recipe has it."""
    parameters, models = settings.default
    each = {
        name: {
            **_dump(own),
            **as_given(_keys(own), entry.parameters, recipe.parameters),
            **({} if entry.task is None else {"task": entry.task}),
        }
        for (name, entry), own in zip(entries.items(), models, strict=True)
    }
    place = {} if device.type == "cpu" else {"device": device.type}
    own = {**_dump(parameters), **as_given(_keys(parameters), recipe.parameters)}
    surgery = surgery_parameters(recipe)
    operated = {} if surgery is None else {"surgery": {"file": SURGERY, **_dump(surgery)}}
    return {**own, "models": each, "scope": recipe.scope, **operated, **place}


def _dump(parameters: Parameters) -> dict[str, Any]:
    return parameters.model_dump(mode="json", by_alias=True)


def _keys(parameters: Parameters) -> list[str]:
    return [field.alias or name for name, field in type(parameters).model_fields.items()]
