"""Making a reference: clean contributions to the tasks of a recipe, pools of them, and what these score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mergeward.audit.budget import Budget, as_budget
from mergeward.audit.reference import Reference
from mergeward.audit.report import AuditReport
from mergeward.audit.run import audit, setting
from mergeward.cache import artefact
from mergeward.compute import thread_count
from mergeward.errors import MergewardError, RecipeError, UsageError
from mergeward.progress import track
from mergeward.provenance import package_version
from mergeward.recipe import ModelEntry, Recipe
from mergeward.seeding import numpy_generator
from mergeward.tasks import Task
from mergeward.train import FinetuneConfig
from mergeward.workflow import finetune
from mergeward.workflow.job import as_recipe
from mergeward.workflow.opened import open_base_file, open_task

MODEL = "model"
RATES = (1.0, 1.5, 0.7)
"""Factors of the learning rate, in turn: how honest contributors train is not known."""

POOLS = 39
"""With so many, one of them may score as high as a suspect."""


def make_reference(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    budget: str = Budget.STANDARD,
    pools: int = POOLS,
    variants: int = 4,
    training: FinetuneConfig = FinetuneConfig(),  # noqa: B008
) -> Reference:
    """Fine-tune clean contributions to the tasks of a recipe, and audit pools of them.

    Contributions are kept in the cache, so that an interrupted run goes on. Pools share contributions, and
    are not independent of one another.

    Args:
        recipe: What is to be audited; its contributions are not opened, their tasks are taken from it.
        budget: The budget of the audits that the reference is for.
        pools: How many pools.
        variants: Contributions to each task; pools draw from them.
        training: How they are trained; seeds and rates vary about it.

    Raises:
        RecipeError: The recipe is malformed, or a contribution names no task.
        UsageError: There is no such budget, or there are too few variants for the recipe.
        DataError: A task cannot be read.
        CheckpointError: The base cannot be read.
    """
    recipe, spent = as_recipe(recipe), as_budget(budget)
    if recipe.base_model is None:
        raise RecipeError("recipe: base_model: missing; an audit compares with it")
    claims = _claims(recipe)
    if variants < max(map(claims.count, claims)):
        raise UsageError(f"variants {variants}: fewer than the contributions to one task of the recipe")
    if pools < 1:
        raise UsageError(f"pools {pools}: expected at least 1")
    tasks = {spec: open_task(spec, recipe.data, recipe.seed) for spec in dict.fromkeys(claims)}
    with open_base_file(recipe.base_model) as base:
        where = setting(recipe, base, spent)
    made = {
        spec: [
            _contribution(recipe.base_model, where.base, task, one) for one in _variants(training, variants)
        ]
        for spec, task in tasks.items()
    }
    highest: dict[str, list[float]] = {}
    for index in track(range(pools), "clean pools"):
        report = audit(_pool(recipe, claims, made, index), budget=spent)
        for stage, score in _highest(report).items():
            highest.setdefault(stage, []).append(score)
    about = {"mergeward": package_version(), "variants": variants, "training": asdict(training)}
    return Reference(where, highest, about)


def _claims(recipe: Recipe) -> list[str]:
    claims = []
    for key, entry in recipe.contributions(needs_base=True).items():
        if entry.task is None:
            raise RecipeError(f"{key}.task: missing; a reference is made of contributions to the same tasks")
        claims.append(entry.task)
    return claims


def _variants(training: FinetuneConfig, count: int) -> list[FinetuneConfig]:
    return [
        replace(
            training,
            seed=training.seed + index,
            learning_rate=training.learning_rate * RATES[index % len(RATES)],
        )
        for index in range(count)
    ]


def _contribution(base: str, digest: str, task: Task, training: FinetuneConfig) -> Path:
    configuration = {
        "base": digest,
        "task": task.fingerprint,
        "training": asdict(training),
        "versions": package_version(),
        "threads": thread_count(),
    }

    def make(folder: Path) -> None:
        finetune(base, task, folder / MODEL, training=training)

    return artefact("reference", configuration, make) / MODEL


def _pool(recipe: Recipe, claims: Sequence[str], made: Mapping[str, Sequence[Path]], index: int) -> Recipe:
    """Return the recipe with clean contributions, drawn without repetition, in place of its own."""
    orders = {
        spec: numpy_generator(recipe.seed, "clean pools", index, place).permutation(len(made[spec])).tolist()
        for place, spec in enumerate(made)
    }
    drawn = [made[spec][orders[spec].pop()] for spec in claims]
    own = recipe.contributions(needs_base=True).values()
    entries = (
        ModelEntry(model=str(model), task=spec, parameters=entry.parameters)
        for model, spec, entry in zip(drawn, claims, own, strict=True)
    )
    return recipe.model_copy(update={"models": tuple(entries)})


def _highest(report: AuditReport) -> dict[str, float]:
    """Return the highest score of each stage that compares."""
    found: dict[str, float] = {}
    for one in report.contributions:
        if one.failure is not None:
            raise MergewardError(f"{one.model}: {one.failure.reason}")
        for evidence in one.evidence:
            if evidence.score is not None:
                found[evidence.stage] = max(evidence.score, found.get(evidence.stage, evidence.score))
    return found
