"""What to merge: the YAML that a user writes, with mergekit's keys."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import torch
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from mergeward.errors import RecipeError, suggestion

MAX_BYTES = 1 << 20
"""A recipe larger than this is refused unread."""

ScopeName = Literal["auto", "all", "vision"]
DtypeName = Literal["float32", "float16", "bfloat16"]
Scalar = bool | int | float | str

Model = TypeVar("Model", bound=BaseModel)


def _text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Location = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
"""A folder, a `.safetensors` file, or the hub id of a model (`owner/name`)."""


def _scalar(value: object) -> object:
    if not isinstance(value, Scalar):
        raise ValueError(
            "one number, true/false or text expected; lists over layers and filters are not supported"
        )
    return value


ParameterValues = dict[str, Annotated[Any, BeforeValidator(_scalar)]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelEntry(_Part):
    """One contribution.

    Attributes:
        model: Folder in Hugging Face layout, `.safetensors` file, or hub id.
        parameters: Per-model parameters of the merge method (`weight`, `density`, ...).
        task: The task this contribution claims to do, as a task spec; needed by the methods that learn
            from images, and by evaluation.
    """

    model: Location
    parameters: ParameterValues = Field(default_factory=dict)
    task: str | None = None


class Recipe(_Part):
    """What to merge, and how.

    Attributes:
        merge_method: Name of a merge method.
        base_model: The pretrained model that every contribution is a fine-tune of.
        models: The contributions, at least one.
        parameters: Parameters of the method, and defaults for the per-model ones.
        dtype: Type of the merged floating tensors; by default each keeps the base's.
        data: Folder that holds task files, for the tasks that are named and not embedded.
        seed: Seed of everything random.
        scope: Which tensors take part: "all", "vision", or "auto" (vision for a CLIP).
    """

    merge_method: str
    base_model: Location
    models: tuple[ModelEntry, ...]
    parameters: ParameterValues = Field(default_factory=dict)
    dtype: DtypeName | None = None
    data: Location | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    scope: ScopeName = "auto"

    @field_validator("models")
    @classmethod
    def _at_least_one(cls, value: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
        if not value:
            raise ValueError("empty; list at least one model to merge into the base")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _as_recipe_error(cls, value: Any, handler: ModelWrapValidatorHandler[Recipe]) -> Recipe:
        try:
            return handler(value)
        except ValidationError as error:
            raise RecipeError(f"recipe: {describe(error, cls)}") from error

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """`dtype` as torch knows it; None keeps the base's."""
        return {
            "float32": torch.float32,
            "float16": torch.float16,
            "bfloat16": torch.bfloat16,
            None: None,
        }[self.dtype]


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    `base_model`, `models[].model` and path-like `models[].task` are taken relative to the recipe's folder
    where something of that name exists there; else they stay as written, since they may be hub ids or names.
    `data` is always relative to the recipe's folder.

    Args:
        path: The YAML file.

    Returns:
        The recipe, with its paths resolved.

    Raises:
        RecipeError: The file is missing, too large, not YAML, or asks for something that does not exist;
            the error names the file and the key.
    """
    path = Path(path)
    content = _parse(path)
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected keys and values (merge_method: ...), found none")
    try:
        recipe = Recipe.model_validate(content)
    except RecipeError as error:
        raise RecipeError(f"{path}: {str(error).removeprefix('recipe: ')}") from error
    return _resolved(recipe, path.resolve().parent)


def validated(
    model: type[Model], values: Mapping[str, Any], *, where: str, known: Collection[str] = ()
) -> Model:
    """Build a pydantic model from a mapping that a user wrote.

    Args:
        model: The model to build.
        values: What the user wrote.
        where: Where it stands in the recipe ("parameters"), for the error.
        known: Further keys worth suggesting when one is misspelt.

    Raises:
        RecipeError: A key is unknown or a value is wrong; every such key is named.
    """
    try:
        return model.model_validate(dict(values), by_alias=True, by_name=False)
    except ValidationError as error:
        raise RecipeError(f"recipe: {describe(error, model, where=where, known=known)}") from error


def describe(
    error: ValidationError, model: type[BaseModel], *, where: str = "", known: Collection[str] = ()
) -> str:
    """Return every problem of a validation error on one line, each with its key."""
    return "; ".join(
        _problem(details, model, where, known)
        for details in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _problem(details: ErrorDetails, model: type[BaseModel], where: str, known: Collection[str]) -> str:
    location = details["loc"]
    key = _key(where, location)
    if details["type"] == "extra_forbidden":
        keys = {*_keys(_model_at(model, location[:-1])), *known}
        return f"{key}: unknown key{suggestion(str(location[-1]), keys)}"
    if details["type"] == "missing":
        return f"{key}: missing"
    message = details["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}"


def _key(where: str, location: tuple[int | str, ...]) -> str:
    text = where
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "recipe"


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = (*get_args(annotation), annotation)
            model = next(arg for arg in inner if isinstance(arg, type) and issubclass(arg, BaseModel))
    return model


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _resolved(recipe: Recipe, folder: Path) -> Recipe:
    entries = tuple(
        entry.model_copy(update={"model": _existing(folder, entry.model), "task": _task(folder, entry.task)})
        for entry in recipe.models
    )
    return recipe.model_copy(
        update={
            "base_model": _existing(folder, recipe.base_model),
            "models": entries,
            "data": None if recipe.data is None else str(folder / recipe.data),
        }
    )


def _existing(folder: Path, name: str) -> str:
    return str(folder / name) if (folder / name).exists() else name


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


def _parse(path: Path) -> object:
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; expected a recipe as YAML")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: larger than {MAX_BYTES} bytes; expected a recipe as YAML")
        return yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a narrowed SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise RecipeError(f"{path}: {error.problem or 'not YAML'}{line}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not readable as YAML ({type(error).__name__})") from error
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from error
