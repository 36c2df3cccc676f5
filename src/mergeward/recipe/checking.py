"""From what pydantic finds wrong to one line that names every key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mergeward.errors import RecipeError, suggestion

Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model],
    values: Mapping[str, Any],
    *,
    where: str,
    known: Collection[str] = (),
    source: str = "recipe",
) -> Model:
    """Build a pydantic model from a mapping that a user wrote.

    Args:
        model: The model to build.
        values: What the user wrote.
        where: Where it stands in the recipe ("parameters"), for the error.
        known: Further keys worth suggesting when one is misspelt.
        source: What the user wrote them for, for the error.

    Raises:
        RecipeError: A key is unknown or a value is wrong; every such key is named.
    """
    try:
        return model.model_validate(dict(values), by_alias=True, by_name=False)
    except ValidationError as error:
        raise RecipeError(f"{source}: {describe(error, model, where=where, known=known)}") from error


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
