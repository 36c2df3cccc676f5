"""What to merge: the YAML that a user writes, with mergekit's keys, as checked values."""

from mergeward.recipe.checking import describe, validated
from mergeward.recipe.entries import ModelEntry
from mergeward.recipe.layered import Place, Rule, alternatives, as_given, first_match, is_layered, rules
from mergeward.recipe.loading import MAX_BYTES, load_recipe
from mergeward.recipe.schema import Recipe, ScopeName

__all__ = [
    "MAX_BYTES",
    "ModelEntry",
    "Place",
    "Recipe",
    "Rule",
    "ScopeName",
    "alternatives",
    "as_given",
    "describe",
    "first_match",
    "is_layered",
    "load_recipe",
    "rules",
    "validated",
]
