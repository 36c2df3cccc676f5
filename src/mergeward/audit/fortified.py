"""The fortified merge that stands in for a recipe's own."""

from __future__ import annotations

from mergeward.merge.registry import method
from mergeward.recipe import Recipe

FORTIFY = "fortify"
"""The method that a merge of suspects is fortified by."""


def common_coefficient(recipe: Recipe) -> float | None:
    """Return the coefficient of every task vector in a merge that can be fortified, or None."""
    own = [entry.parameters for entry in recipe.models]
    if method(recipe.merge_method).name != "task_arithmetic" or any(own):
        return None
    if not all(entry.task for entry in recipe.models) or recipe.parameters.keys() - {"weight", "lambda"}:
        return None
    info = method(recipe.merge_method)
    weight = recipe.parameters.get("weight", info.model_parameters.model_fields["weight"].default)
    scale = recipe.parameters.get("lambda", 1.0)
    if not all(isinstance(value, int | float) for value in (weight, scale)):
        return None
    coefficient = weight * scale
    return coefficient if 0 <= coefficient <= 1 else None
