"""What to merge: the YAML that a user writes, with mergekit's keys, as checked values."""

from mergeward.recipe.checking import describe, validated
from mergeward.recipe.entries import ModelEntry, Part
from mergeward.recipe.layered import Place, Rule, alternatives, as_given, first_match, is_layered, rules
from mergeward.recipe.loading import MAX_BYTES, load_recipe, read_yaml
from mergeward.recipe.policy import AuditPolicy
from mergeward.recipe.schema import Recipe, ScopeName

__all__ = [
    "MAX_BYTES",
    "AuditPolicy",
    "ModelEntry",
    "Part",
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
    "read_yaml",
    "rules",
    "validated",
]
