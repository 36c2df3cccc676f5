"""What mergekit's recipes call our methods, and the keys in them that say what a method does in any case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeward.errors import RecipeError
from mergeward.merge.method import MethodInfo

ALIASES: Mapping[str, str] = {"linear": "average"}
"""Names of mergekit's by which a recipe may ask for a method that has another name here."""

OTHER_WORK: Mapping[str, str] = {
    "passthrough": "it stacks layers of several models; this program merges models of one shape",
}
"""Methods of mergekit's that are no merges, and why they are refused."""

IMPLIED: Mapping[str, Mapping[str, bool]] = {
    "average": {"normalize": True},
    "task_arithmetic": {"normalize": False},
    "nuslerp": {"nuslerp_flatten": True, "nuslerp_row_wise": False},
}
"""By method, the keys of mergekit's whose only value here is this."""


def without_idle(info: MethodInfo, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Take out of a recipe's `parameters` what says nothing to a method.

    Args:
        info: The method.
        parameters: The recipe's `parameters`.

    Returns:
        What is left, and a line about each key that has no effect.

    Raises:
        RecipeError: A key asks for what the method does not do.
    """
    implied = IMPLIED.get(info.name, {})
    left, notes = dict(parameters), []
    for key, only in implied.items():
        if key in left and left[key] is not only:
            raise RecipeError(
                f"recipe: parameters.{key}: {info.name} has {str(only).lower()} in any case; "
                f"found {left[key]!r}"
            )
        if left.pop(key, None) is not None:
            notes.append(f"parameters.{key}: {info.name} does so in any case")
    if "int8_mask" in left:
        notes.append("parameters.int8_mask: without effect; masks are never stored")
        if not any("int8_mask" in model.model_fields for model in (info.parameters, info.model_parameters)):
            del left["int8_mask"]
    return left, tuple(notes)
