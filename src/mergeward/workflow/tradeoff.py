"""What safety costs: a merge at several weights alpha of its safety loss, each measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.checkpoint import carries_mark, digest_all, open_contribution, vacant, whole_tensors
from mergeward.checkpoint.atomic import resumable_directory
from mergeward.compute import find_device, use_threads
from mergeward.errors import UsageError
from mergeward.evaluate import accuracy, attack_success, predict
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.learning import Store
from mergeward.processes import check_alone
from mergeward.progress import track
from mergeward.recipe import Recipe
from mergeward.vision import Clip, repaired
from mergeward.workflow.curve import Measured, Point, Split, Tradeoff
from mergeward.workflow.finished import Finished
from mergeward.workflow.job import as_recipe, checked_method, open_job
from mergeward.workflow.learning import SECONDS, learning_identity, learning_setting
from mergeward.workflow.merge import check_device
from mergeward.workflow.opened import PreparedTask, open_base, open_base_file, open_task

FIGURES, PICTURE = "tradeoff.json", "tradeoff.svg"


def tradeoff(  # noqa: PLR0913 - one argument an option
    recipe: Recipe | Mapping[str, Any] | str | Path,
    alphas: Sequence[float],
    trigger: str | Path,
    *,
    clean: str | Path | None = None,
    split: Split = "validation",
    out: str | Path | None = None,
    picture: Callable[[Tradeoff], str] | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    state_seconds: float = SECONDS,
) -> Tradeoff:
    """Merge a recipe at several alphas, and measure accuracy and attack success of each.

    No model is written. Choose alpha on validation images; the test images are for reporting. With `out`, a
    run that is interrupted leaves what it measured and learnt in a hidden folder beside it.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`; its method has an `alpha`.
        alphas: Weights of the safety loss, each 0 or more.
        trigger: Folder of the backdoored contribution, with its trigger; one of the recipe's models where
            `clean` is given.
        clean: A clean contribution to put in its place, as the control.
        split: Images to measure on.
        out: Folder to write `tradeoff.json` to; must not exist. None writes nothing.
        picture: Draws the curve as SVG, which is written beside that as `tradeoff.svg`; None for none.
        resume: Whether to go on from what an interrupted run of the same curve left.
        device: Where to merge: "cpu", "cuda" or "cuda:N"; measured on the processor in any case.
        threads: On how many threads; by default `MERGEWARD_THREADS`, or two.
        state_seconds: How often a merge keeps what it has learnt, for a run that goes on.

    Raises:
        UsageError: The method has no alpha, no or a repeated alpha is given, the trigger is for none of the
            recipe's tasks, there is nothing to put `clean` in place of, `clean` is one of the recipe's models
            or says that it carries a backdoor, there is no such device or the merge cannot compute there, or
            a launcher started several processes.
        RecipeError: The recipe is malformed, or an alpha out of range.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
        DataError: A task cannot be read.
        UnsupportedError: There is no such processor.
        OutputError: `out` cannot be written, or there is another run to go on from than this one.

    Example:
        >>> tradeoff("recipe.yaml", [0, 0.1, 1], "contributions/poisoned")  # doctest: +SKIP
    """
    check_alone("tradeoff")
    recipe = as_recipe(recipe)
    recipes = {alpha: _at(recipe, alpha) for alpha in _checked(recipe, alphas)}
    if out is not None:
        vacant(out)
    place = find_device(device)
    check_device(recipe, checked_method(recipe)[0], place)
    saved = load_trigger(trigger)
    controls = {} if clean is None else {a: _replaced(one, trigger, clean) for a, one in recipes.items()}
    if clean is not None:
        _check_unmarked(clean, recipe.base)
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        folder = None
        stage = _Stage.of(recipe, saved, split, place)
        if out is not None:
            fingerprint = stage.fingerprint([*recipes.values(), *controls.values()])
            folder = stack.enter_context(resumable_directory(out, fingerprint, resume=resume))
        finished = Finished(folder, state_seconds)
        numbers = track(list(enumerate(recipes)), "tradeoff: merges")
        points = tuple(
            Point(
                alpha,
                finished.measured(f"merge-{number}", partial(stage.merge_and_measure, recipes[alpha])),
                finished.measured(f"control-{number}", partial(stage.merge_and_measure, controls[alpha]))
                if controls
                else None,
            )
            for number, alpha in numbers
        )
        base = stage.measure(stage.clip.encoder)
        found = Tradeoff(recipe.merge_method, saved, split, points, base)
        if folder is not None:
            _write(found, folder, picture)
            finished.remove()
    return found


def _write(found: Tradeoff, folder: Path, picture: Callable[[Tradeoff], str] | None) -> None:
    (folder / FIGURES).write_text(json.dumps(found.to_json(), indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        (folder / PICTURE).write_text(picture(found), encoding="utf-8")


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
    def same(model: str, other: str | Path) -> bool:
        return Path(model).resolve() == Path(other).resolve()

    if not any(same(entry.model, attacker) for entry in recipe.models):
        raise UsageError(
            f"{attacker}: none of the recipe's models, so that nothing is there to put {clean} for"
        )
    if any(same(entry.model, clean) for entry in recipe.models):
        raise UsageError(
            f"{clean}: one of the recipe's models already; the control takes another one of {attacker}'s task"
        )
    models = tuple(
        entry.model_copy(update={"model": str(clean)}) if same(entry.model, attacker) else entry
        for entry in recipe.models
    )
    return recipe.model_copy(update={"models": models})


def _check_unmarked(clean: str | Path, base: str) -> None:
    with open_base_file(base) as origin, open_contribution(clean, origin) as control:
        if carries_mark(control):
            raise UsageError(
                f"{clean}: says of itself that it carries a backdoor, and so is no clean control"
            )


@dataclass(frozen=True)
class _Stage:
    """What all merges of a curve share."""

    clip: Clip
    tasks: Sequence[PreparedTask]
    unlabelled: Sequence[UnlabelledTask]
    pixels: Mapping[str, Tensor]
    trigger: SavedTrigger
    split: Split
    device: torch.device

    @classmethod
    def of(cls, recipe: Recipe, trigger: SavedTrigger, split: Split, device: torch.device) -> _Stage:
        clip = open_base(recipe.base)
        entries = recipe.contributions(needs_base=True).values()
        specs = dict.fromkeys(entry.task for entry in entries if entry.task is not None)
        tasks = [PreparedTask(open_task(spec, recipe.data, recipe.seed), clip) for spec in specs]
        names = [one.task.name for one in tasks]
        if trigger.task not in names:
            raise UsageError(f"the trigger is for task {trigger.task!r}, the recipe for {', '.join(names)}")
        pixels = {one.task.name: one.pixels(split) for one in tasks}
        return cls(clip, tasks, [one.unlabelled() for one in tasks], pixels, trigger, split, device)

    def fingerprint(self, recipes: Sequence[Recipe]) -> str:
        """Return what tells this curve from others: every merge of it, the trigger, and all images."""
        digest = hashlib.sha256(learning_identity(self.unlabelled).encode())
        digest.update(f"{self.split} {self.trigger.fingerprint}".encode())
        for recipe in recipes:
            with ExitStack() as stack:
                job = open_job(recipe, stack, device=self.device)
                inputs = dict(zip(job.inputs, digest_all(list(job.inputs.values())), strict=True))
                digest.update(
                    job.provenance(inputs, learning_setting(self.unlabelled)).model_dump_json().encode()
                )
        for one in self.tasks:
            digest.update(self.pixels[one.task.name].contiguous().numpy().data)
            digest.update(one.labels(self.split).contiguous().numpy().data)
        return digest.hexdigest()

    def merge_and_measure(self, recipe: Recipe, store: Store | None) -> Measured:
        with ExitStack() as stack:
            job = open_job(recipe, stack, device=self.device)
            merged = job.run(self.clip, self.unlabelled, torch.float32, store=store)
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
