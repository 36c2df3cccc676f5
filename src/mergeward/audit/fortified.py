"""The fortified merge that stands in for a recipe's own."""

from __future__ import annotations

from mergeward.merge.registry import method
from mergeward.recipe import Recipe

FORTIFY = "fortify"
"""The method that a merge of suspects is fortified by."""


REPLACED = "task_arithmetic"
"""The method that it can take the place of."""


def why_not_fortified(recipe: Recipe) -> str | None:
    """Return why `fortify` cannot take the place of a recipe's merge, as a clause; None where it can.

    It can where a recipe adds all task vectors with one coefficient between 0 and 1. Where contributions have
    weights of their own, or are subtracted, the merge is meant to be another one.
    """
    name = method(recipe.merge_method).name
    if name != REPLACED:
        return f"the recipe merges by {name}, and {FORTIFY} takes the place of {REPLACED} alone"
    if recipe.scope == "all":
        return f"{FORTIFY} merges the image encoder alone (scope: vision)"
    if any(entry.parameters for entry in recipe.models):
        return "a contribution has parameters of its own"
    if not all(entry.task for entry in recipe.models):
        return f"{FORTIFY} needs the task of each contribution"
    if others := sorted(recipe.parameters.keys() - {"weight", "lambda"}):
        return f"{FORTIFY} has no parameter {', '.join(others)}"
    return None if _is_share(recipe) else "weight times lambda is no number between 0 and 1"


def _is_share(recipe: Recipe) -> bool:
    """Whether the coefficient of all task vectors is one number between 0 and 1."""
    default = method(REPLACED).model_parameters.model_fields["weight"].default
    weight, scale = recipe.parameters.get("weight", default), recipe.parameters.get("lambda", 1.0)
    if not all(isinstance(value, int | float) for value in (weight, scale)):
        return False
    return bool(0 <= weight * scale <= 1)
