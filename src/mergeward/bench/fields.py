"""What the fields of a suite may hold, and what is said of what they may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, JsonValue

from mergeward.errors import UsageError, suggestion
from mergeward.train import FinetuneConfig

TRAINING_KEYS = tuple(entry.name for entry in fields(FinetuneConfig) if entry.name != "seed")


WHOLE = ("steps", "batch_size", "warmup_steps")
"""Those that are whole numbers."""


def _known_training(values: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in values:
        if key not in TRAINING_KEYS:
            raise ValueError(f"unknown key {key!r}{suggestion(key, TRAINING_KEYS)}")
        if key in WHOLE and not isinstance(values[key], int):
            raise ValueError(f"{key}: {values[key]!r}, expected a whole number")
    return values


def _in_range(values: dict[str, int | float]) -> dict[str, int | float]:
    try:
        FinetuneConfig(**values)  # type: ignore[arg-type]
    except UsageError as error:
        raise ValueError(str(error)) from error
    return values


def _listed(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list")
    return value


def _not_empty(value: object) -> object:
    if not _listed(value):
        raise ValueError("expected at least one")
    return value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


Values = Annotated[dict[str, JsonValue], BeforeValidator(_none_is_empty)]
Training = Annotated[
    dict[str, int | float],
    AfterValidator(_in_range),
    BeforeValidator(_known_training),
    BeforeValidator(_none_is_empty),
]
"""Fields of `FinetuneConfig` that differ from their defaults; the seed is the suite's."""

Item = TypeVar("Item")
Listed: TypeAlias = Annotated[tuple[Item, ...], BeforeValidator(_listed)]
Some: TypeAlias = Annotated[tuple[Item, ...], BeforeValidator(_not_empty)]
"""A list of at least one."""
