"""Recipes as files: plain YAML, bounded, with paths relative to the recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mergeward.errors import RecipeError
from mergeward.recipe.policy import AuditPolicy
from mergeward.recipe.schema import Recipe

MAX_BYTES = 1 << 20
"""A recipe larger than this is refused unread."""


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    `base_model`, `models[].model` and path-like `models[].task` are taken relative to the recipe's folder
    where something of that name exists there; else they stay as written, since they may be hub ids or names.
    `data`, `masks` and `audit.reference` are always relative to the recipe's folder.

    Args:
        path: The YAML file.

    Returns:
        The recipe, with its paths resolved.

    Raises:
        RecipeError: The file is missing, too large, not YAML, or asks for something that does not exist;
            the error names the file and the key.
    """
    path = Path(path)
    content = read_yaml(path, expected="a recipe")
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected keys and values (merge_method: ...), found none")
    try:
        recipe = Recipe.model_validate(content)
    except RecipeError as error:
        raise RecipeError(f"{path}: {str(error).removeprefix('recipe: ')}") from error
    return _resolved(recipe, path.resolve().parent)


def _resolved(recipe: Recipe, folder: Path) -> Recipe:
    entries = tuple(
        entry.model_copy(update={"model": _existing(folder, entry.model), "task": _task(folder, entry.task)})
        for entry in recipe.models
    )
    return recipe.model_copy(
        update={
            "base_model": None if recipe.base_model is None else _existing(folder, recipe.base_model),
            "models": entries,
            "data": None if recipe.data is None else str(folder / recipe.data),
            "masks": None if recipe.masks is None else str(folder / recipe.masks),
            "audit": _audit(folder, recipe.audit),
        }
    )


def _audit(folder: Path, policy: AuditPolicy) -> AuditPolicy:
    if policy.reference is None:
        return policy
    return policy.model_copy(update={"reference": str(folder / policy.reference)})


def _existing(folder: Path, name: str) -> str:
    """Return a path in the recipe's folder, if what is named lies there, or at least the folder it is in."""
    path = folder / name
    return str(path) if path.exists() or (path.parent.is_dir() and path.parent != folder) else name


def _task(folder: Path, spec: str | None) -> str | None:
    """A bare word is the name of a task, even where a folder of that name lies beside the recipe."""
    return spec if spec is None or not re.search(r"[/\\.]", spec) else _existing(folder, spec)


class _Loader(yaml.SafeLoader):
    """Plain YAML: no duplicate keys, and no aliases (nested ones expand a small file without bound)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not supported", problem_mark=self.get_mark()
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, *, expected: str) -> object:
    """Read a YAML file that a stranger may have written: bounded, no aliases, no duplicate keys.

    Args:
        path: The file.
        expected: What it should be ("a recipe"), for the error.

    Raises:
        RecipeError: The file is missing, too large, or not YAML.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; expected {expected} as YAML")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: larger than {MAX_BYTES} bytes; expected {expected} as YAML")
        return yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a narrowed SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise RecipeError(f"{path}: {error.problem or 'not YAML'}{line}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not readable as YAML ({type(error).__name__})") from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from error
