"""What a recipe sets for a method, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from mergeward.errors import RecipeError
from mergeward.merge.method import Parameters

Own = TypeVar("Own", bound=Parameters)
PerModel = TypeVar("PerModel", bound=Parameters)


class Settings(NamedTuple, Generic[Own, PerModel]):
    """The parameters of a method, and those of each contribution.

    Attributes:
        parameters: The method's parameters.
        models: The per-model parameters, in the order of the contributions.
    """

    parameters: Own
    models: tuple[PerModel, ...]


@dataclass(frozen=True)
class Schedule(Generic[Own, PerModel]):
    """The settings of every tensor of a scope.

    Attributes:
        default: Those of every tensor that has none of its own.
        by_tensor: Those of the tensors that the recipe singles out, by name.
    """

    default: Settings[Own, PerModel]
    by_tensor: Mapping[str, Settings[Own, PerModel]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Settings[Own, PerModel]:
        """Return the settings of one tensor."""
        return self.by_tensor.get(name, self.default)

    def uniform(self, method: str, *fields: str) -> Settings[Own, PerModel]:
        """Return the settings, for a method that treats all tensors as one in some of them.

        Args:
            method: Name of the method, for the error.
            fields: The attributes that must be the same for every tensor.

        Raises:
            RecipeError: One of them varies.
        """
        for name in fields:
            values = {_values(settings, name) for settings in self.by_tensor.values()}
            if values - {_values(self.default, name)}:
                raise RecipeError(f"parameters.{name}: {method} needs one value for all tensors")
        return self.default


def _values(settings: Settings[Own, PerModel], name: str) -> tuple[object, ...]:
    owners: tuple[Parameters, ...] = (settings.parameters, *settings.models)
    return tuple(getattr(owner, name) for owner in owners if name in type(owner).model_fields)
