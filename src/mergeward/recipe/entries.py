"""The parts of a recipe that its own form and mergekit's `slices` share."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mergeward.recipe.layered import LayeredValue


def _text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


Location = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
"""A folder, a `.safetensors` file, or the hub id of a model (`owner/name`)."""

ParameterValues = Annotated[dict[str, LayeredValue], BeforeValidator(_none_is_empty)]
"""Values by key; a key without content, as in `parameters:`, is an empty mapping."""


class Part(BaseModel):
    """Base of every part of a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelEntry(Part):
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
