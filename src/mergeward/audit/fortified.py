"""The fortified merge that stands in for a recipe's own."""

from __future__ import annotations

from mergeward.merge.registry import method
from mergeward.recipe import Recipe

FORTIFY = "fortify"
"""The method that a merge of suspects is fortified by."""


def can_be_fortified(recipe: Recipe) -> bool:
    """Whether a recipe adds all task vectors with one coefficient between 0 and 1, as `fortify` does.

    Where contributions have weights of their own, or are subtracted, the merge is meant to be another one.
    """
    own = [entry.parameters for entry in recipe.models]
    if method(recipe.merge_method).name != "task_arithmetic" or any(own):
        return False
    if not all(entry.task for entry in recipe.models) or recipe.parameters.keys() - {"weight", "lambda"}:
        return False
    info = method(recipe.merge_method)
    weight = recipe.parameters.get("weight", info.model_parameters.model_fields["weight"].default)
    scale = recipe.parameters.get("lambda", 1.0)
    if not all(isinstance(value, int | float) for value in (weight, scale)):
        return False
    return bool(0 <= weight * scale <= 1)
