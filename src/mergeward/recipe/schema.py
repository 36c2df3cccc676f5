"""What a recipe holds: its keys, their types, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator

from mergeward.errors import RecipeError
from mergeward.recipe.checking import describe
from mergeward.recipe.entries import Location, ModelEntry, ParameterValues, Part
from mergeward.recipe.layered import LayerRange
from mergeward.recipe.mergekit import NO_EFFECT, translated
from mergeward.recipe.policy import AuditPolicy

ScopeName = Literal["auto", "all", "vision"]
DtypeName = Literal["float32", "float16", "bfloat16"]


class Recipe(Part):
    """What to merge, and how.

    Attributes:
        merge_method: Name of a merge method.
        base_model: The pretrained model that every contribution is a fine-tune of. A method whose arithmetic
            does not use it does without; see `base`.
        models: The contributions, at least one.
        slices: Ranges of layers that together are all of them, where the recipe has mergekit's `slices`.
        parameters: Parameters of the method, and defaults for the per-model ones.
        dtype: Type of the merged floating tensors; by default each keeps the base's.
        out_dtype: mergekit's key for the same, which goes before `dtype`.
        tokenizer_source: mergekit's key; without effect.
        tokenizer: mergekit's key; without effect.
        data: Folder that holds task files, for the tasks that are named and not embedded.
        seed: Seed of everything random.
        scope: Which tensors take part: "all", "vision", or "auto" (vision for a CLIP).
        surgery: Parameters of representation surgery, which goes on top of the merge; None for none.
        masks: Saved masks that the method uses instead of learning its own: `masks.safetensors`, or the
            folder of a merged model that has it.
        audit: What `merge --audit` does; by default it warns of suspects.
    """

    merge_method: str
    base_model: Location | None = None
    models: tuple[ModelEntry, ...]
    slices: tuple[LayerRange, ...] | None = None
    parameters: ParameterValues = Field(default_factory=dict)
    dtype: DtypeName | None = None
    out_dtype: DtypeName | None = None
    tokenizer_source: str | None = None
    tokenizer: dict[str, Any] | None = None
    data: Location | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    scope: ScopeName = "auto"
    surgery: dict[str, Any] | None = None
    masks: Location | None = None
    audit: AuditPolicy = AuditPolicy()

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
            return handler(translated(value) if isinstance(value, Mapping) else value)
        except ValidationError as error:
            raise RecipeError(f"recipe: {describe(error, cls)}") from error

    @property
    def base(self) -> str:
        """The base, or the first contribution where none is named: it gives what is not merged."""
        return self.models[0].model if self.base_model is None else self.base_model

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """Type of the floating tensors of the output as torch knows it; None keeps the base's."""
        return {
            "float32": torch.float32,
            "float16": torch.float16,
            "bfloat16": torch.bfloat16,
            None: None,
        }[self.out_dtype or self.dtype]

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands in the recipe and has no effect, each in a line."""
        idle = [f"{key}: {reason}" for key, reason in NO_EFFECT.items() if getattr(self, key) is not None]
        if self.dtype is not None and self.out_dtype is not None:
            idle.append("dtype: arithmetic is in float32 in any case; the output has out_dtype")
        return tuple(idle)

    def contributions(self, *, needs_base: bool) -> dict[str, ModelEntry]:
        """Return what is merged, by its key in the recipe ("models[0]").

        mergekit's recipes may list the base among the models. Its task vector is zero, so a method that works
        with those leaves it out; to another it is a contribution, and comes first.

        Args:
            needs_base: Whether the method works with task vectors.

        Raises:
            RecipeError: The base alone is listed.
        """
        place = "models[{}]" if self.slices is None else "slices[].sources[{}]"
        keyed = {place.format(index): entry for index, entry in enumerate(self.models)}
        listed = {key: entry for key, entry in keyed.items() if entry.model == self.base_model}
        others = {key: entry for key, entry in keyed.items() if key not in listed}
        if not needs_base:
            return {**listed, **others}
        if not others:
            raise RecipeError("recipe: models: only the base itself is listed; its task vector is zero")
        return others
