"""Running the stages over a recipe's models, and putting together what they found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeward.audit import hygiene
from mergeward.audit.budget import Budget, as_budget
from mergeward.audit.laboratory import Laboratory, open_laboratory
from mergeward.audit.reference import Reference, Setting, read_reference
from mergeward.audit.report import AuditReport, BaseReport, ContributionReport, Evidence, Failure
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.audit.stages import NOT_COVERED, STAGES
from mergeward.checkpoint import Adapter, Checkpoint, check_compatible, open_contribution, resolve_scope
from mergeward.errors import CheckpointError, RecipeError, UnsupportedError
from mergeward.merge.registry import method
from mergeward.recipe import ModelEntry, Recipe
from mergeward.workflow.job import as_recipe, checked_method, distinct_names
from mergeward.workflow.opened import open_base_file


def audit(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    budget: str = Budget.STANDARD,
    reference: Reference | str | Path | None = None,
) -> AuditReport:
    """Examine the contributions of a recipe, without labels or a known trigger.

    A contribution that cannot be opened, or is no fine-tune of the base, is reported as failed and the others
    are examined without it.

    Args:
        recipe: What would be merged: path of a YAML file, its content as a mapping, or a `Recipe`. It is
            checked as `merge` checks it.
        budget: "quick" looks at files and weights, "standard" also at what merges do to images of the tasks
            that the recipe names, "deep" does the same more thoroughly.
        reference: What clean pools score, as `make_reference` writes it. Without one contributions are
            ranked, and nothing but a mark in a file makes a suspect.

    Returns:
        The evidence, a verdict and a rank for each contribution, and what was not covered.

    Raises:
        RecipeError: The recipe is malformed.
        UsageError: There is no such merge method or budget, or the reference is for another setting.
        CheckpointError: The base is missing, malformed or hostile: there is nothing to compare with.
        UnsupportedError: No tensor of the base is in the recipe's scope.
        DataError: A task or the reference cannot be read.

    Example:
        >>> audit("recipe.yaml").verdict  # doctest: +SKIP
        <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    recipe, spent = as_recipe(recipe), as_budget(budget)
    checked_method(recipe)
    if recipe.base_model is None:
        raise RecipeError("recipe: base_model: missing; an audit compares with it")
    if reference is not None and not isinstance(reference, Reference):
        reference = read_reference(reference)
    entries = entries_by_name(recipe)
    with ExitStack() as stack:
        base = stack.enter_context(open_base_file(recipe.base_model))
        if reference is not None:
            reference.check(setting(recipe, base, spent))
        pool, failures = _opened(entries, base, resolve_scope(recipe.scope, base), stack)
        chosen = [stage for stage in STAGES if spent.covers(stage.least)]
        left_out = {
            stage.name: f"not part of a {spent} audit" for stage in STAGES if not spent.covers(stage.least)
        }
        laboratory, reason = _laboratory(recipe, entries, chosen)
        if laboratory is None:
            left_out |= {stage.name: reason for stage in chosen if stage.runs_models}
            chosen = [stage for stage in chosen if not stage.runs_models]
        results = _run(chosen, replace(pool, budget=spent, laboratory=laboratory))
    for result in results:
        failures |= result.failures
        left_out |= result.not_examined
    if reference is not None:
        results = reference.calibrated(results)
    return AuditReport(
        _about_base(recipe.base_model, results),
        _contributions(entries, results, failures),
        tuple(stage.name for stage in chosen),
        (*(stage.summary for stage in STAGES if stage.name in left_out), *NOT_COVERED),
        spent,
        left_out,
        [finding for result in results for finding in result.findings],
    )


def entries_by_name(recipe: Recipe) -> dict[str, ModelEntry]:
    """Return the contributions of a recipe by the names that a report has for them.

    The base is none, though a recipe may list it.
    """
    entries = list(recipe.contributions(needs_base=True).values())
    return dict(zip(distinct_names([entry.model for entry in entries]), entries, strict=True))


def setting(recipe: Recipe, base: Checkpoint, budget: Budget) -> Setting:
    """Return what the scores of an audit depend on beside the contributions."""
    entries = recipe.contributions(needs_base=True).values()
    named = sorted(
        (Path(entry.task).stem if entry.task else "", json.dumps(entry.parameters, sort_keys=True))
        for entry in entries
    )
    parameters = {"shared": recipe.parameters, "own": named}
    return Setting(
        base.digest(),
        method(recipe.merge_method).name,
        json.loads(json.dumps(parameters)),
        recipe.scope,
        budget.value,
        tuple(task for task, _ in named),
    )


def _opened(
    entries: Mapping[str, ModelEntry], base: Checkpoint, scope: Sequence[str], stack: ExitStack
) -> tuple[Pool, dict[str, Failure]]:
    """Open every contribution that can be and that is a fine-tune of the base."""
    opened: dict[str, Checkpoint | Adapter] = {}
    failures = {}
    for name, entry in entries.items():
        try:
            contribution = open_contribution(entry.model, base)
            stack.callback(contribution.close)
            check_compatible(base, [contribution], scope)
        except CheckpointError as error:
            failures[name] = Failure(hygiene.NAME, str(error))
        else:
            opened[name] = contribution
    return Pool(base, opened, scope), failures


def _laboratory(
    recipe: Recipe, entries: Mapping[str, ModelEntry], stages: Sequence[Stage]
) -> tuple[Laboratory | None, str]:
    """Return what stages that run models work with, or why there is nothing."""
    if not any(stage.runs_models for stage in stages):
        return None, ""
    try:
        return open_laboratory(recipe, entries), ""
    except UnsupportedError as error:
        return None, str(error)


def _run(stages: Sequence[Stage], pool: Pool) -> list[StageResult]:
    results = []
    for stage in stages:
        result = stage.run(pool)
        left = {name: one for name, one in pool.contributions.items() if name not in result.failures}
        pool = replace(pool, contributions=left)
        results.append(result)
    return _deciding(stages, results)


def _deciding(stages: Sequence[Stage], results: Sequence[StageResult]) -> list[StageResult]:
    """Mark the evidence that decides nothing, because a later stage compares the contribution, too."""
    marked: list[StageResult] = []
    compared: set[str] = set()
    for stage, result in zip(reversed(stages), reversed(results), strict=True):
        if stage.compares:
            told = result.evidence.items()
            found = {name: replace(one, decides=name not in compared) for name, one in told}
            compared |= {name for name, one in told if one.score is not None}
            marked.append(replace(result, evidence=found))
        else:
            marked.append(result)
    return marked[::-1]


def _about_base(model: str, results: Sequence[StageResult]) -> BaseReport:
    found: tuple[Evidence, ...] = tuple(result.base for result in results if result.base is not None)
    return BaseReport("base", model, found)


def _contributions(
    entries: Mapping[str, ModelEntry], results: Sequence[StageResult], failures: Mapping[str, Failure]
) -> tuple[ContributionReport, ...]:
    ranks = _ranks(results)
    return tuple(
        ContributionReport(
            name,
            entry.model,
            tuple(result.evidence[name] for result in results if name in result.evidence),
            failures.get(name),
            ranks.get(name),
        )
        for name, entry in entries.items()
    )


def _ranks(results: Sequence[StageResult]) -> dict[str, int]:
    """Return the ranks by the last stage that compares."""
    scores: dict[str, float] = {}
    for result in results:
        own = {name: one.score for name, one in result.evidence.items() if one.score is not None}
        scores = own or scores
    return {name: 1 + sum(other > score for other in scores.values()) for name, score in scores.items()}
