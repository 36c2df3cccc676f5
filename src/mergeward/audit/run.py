"""Running the stages over a recipe's models, and putting together what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergeward.audit import hygiene
from mergeward.audit.report import AuditReport, BaseReport, ContributionReport, Evidence, Failure
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.audit.stages import NOT_COVERED, STAGES
from mergeward.checkpoint import Adapter, Checkpoint, check_compatible, open_contribution, resolve_scope
from mergeward.errors import CheckpointError, RecipeError
from mergeward.recipe import Recipe
from mergeward.workflow.job import as_recipe, checked_method, distinct_names
from mergeward.workflow.opened import open_base_file


def audit(recipe: Recipe | Mapping[str, Any] | str | Path) -> AuditReport:
    """Examine the contributions of a recipe, without labels, images or a known trigger.

    A contribution that cannot be opened, or is no fine-tune of the base, is reported as failed and the others
    are examined without it.

    Args:
        recipe: What would be merged: path of a YAML file, its content as a mapping, or a `Recipe`. It is
            checked as `merge` checks it.

    Returns:
        The evidence, a verdict and a rank for each contribution, and what was not covered.

    Raises:
        RecipeError: The recipe is malformed.
        UsageError: There is no such merge method.
        CheckpointError: The base is missing, malformed or hostile: there is nothing to compare with.
        UnsupportedError: No tensor of the base is in the recipe's scope.

    Example:
        >>> audit("recipe.yaml").verdict  # doctest: +SKIP
        <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    recipe = as_recipe(recipe)
    checked_method(recipe)
    if recipe.base_model is None:
        raise RecipeError("recipe: base_model: missing; an audit compares with it")
    models = _models(recipe)
    with ExitStack() as stack:
        base = stack.enter_context(open_base_file(recipe.base_model))
        pool, failures = _opened(models, base, resolve_scope(recipe.scope, base), stack)
        results = _run(STAGES, pool)
        for result in results:
            failures |= result.failures
        return _report(recipe.base_model, models, results, failures)


def _models(recipe: Recipe) -> dict[str, str]:
    """Return where each contribution is, by name; the base is none, though a recipe may list it."""
    models = [entry.model for entry in recipe.contributions(needs_base=True).values()]
    return dict(zip(distinct_names(models), models, strict=True))


def _opened(
    models: Mapping[str, str], base: Checkpoint, scope: Sequence[str], stack: ExitStack
) -> tuple[Pool, dict[str, Failure]]:
    """Open every contribution that can be and that is a fine-tune of the base."""
    opened: dict[str, Checkpoint | Adapter] = {}
    failures = {}
    for name, model in models.items():
        try:
            contribution = open_contribution(model, base)
            stack.callback(contribution.close)
            check_compatible(base, [contribution], scope)
        except CheckpointError as error:
            failures[name] = Failure(hygiene.NAME, str(error))
        else:
            opened[name] = contribution
    return Pool(base, opened, scope), failures


def _run(stages: Sequence[Stage], pool: Pool) -> list[StageResult]:
    results = []
    for stage in stages:
        result = stage.run(pool)
        left = {name: one for name, one in pool.contributions.items() if name not in result.failures}
        pool = replace(pool, contributions=left)
        results.append(result)
    return results


def _report(
    base_model: str,
    models: Mapping[str, str],
    results: Sequence[StageResult],
    failures: Mapping[str, Failure],
) -> AuditReport:
    ranks = _ranks(results)
    contributions = tuple(
        ContributionReport(
            name,
            model,
            tuple(result.evidence[name] for result in results if name in result.evidence),
            failures.get(name),
            ranks.get(name),
        )
        for name, model in models.items()
    )
    about_base: tuple[Evidence, ...] = tuple(result.base for result in results if result.base is not None)
    base = BaseReport("base", base_model, about_base)
    return AuditReport(base, contributions, tuple(stage.name for stage in STAGES), NOT_COVERED)


def _ranks(results: Sequence[StageResult]) -> dict[str, int]:
    """Return the ranks by the last stage that compares: it is the dearest, and knows most."""
    scores = next((result.scores for result in reversed(results) if result.scores), {})
    return {name: 1 + sum(other > score for other in scores.values()) for name, score in scores.items()}
