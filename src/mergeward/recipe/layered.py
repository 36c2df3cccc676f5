"""Values that differ from tensor to tensor: lists over the layers, and filters on names.

The forms and rules are mergekit's: a scalar holds everywhere; a list of numbers is interpolated over the
layers; a list of `{filter, value}` entries gives each tensor the value of the first entry that it matches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from mergeward.recipe.checking import describe

Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | tuple[float, ...]

EXPECTED = (
    "expected one number, true/false or text; a list of numbers over the layers; or a list of "
    "{filter: part of a name, value: ...} entries"
)


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in its model.

    Attributes:
        name: The tensor's name.
        layer: Its layer, counted from 0; -1 before the first and `layers` after the last.
        layers: How many layers there are.
    """

    name: str
    layer: int
    layers: int


@dataclass(frozen=True)
class Rule:
    """A value, and the tensors that it is for.

    Attributes:
        value: A scalar, or numbers to interpolate over the layers.
        filter: Part of the names of the tensors; None for all.
        layers: First layer, and the one after the last; None for all. What lies before or after all layers
            belongs to the first or last of them.
    """

    value: Value
    filter: str | None = None
    layers: tuple[int, int] | None = None

    @property
    def everywhere(self) -> bool:
        """Whether it gives every tensor the same."""
        return self.filter is None and self.layers is None and not isinstance(self.value, tuple)

    def matches(self, place: Place) -> bool:
        """Return whether it is for a tensor."""
        if self.filter is not None and self.filter not in place.name:
            return False
        if self.layers is None:
            return True
        start, stop = self.layers
        return start <= min(max(place.layer, 0), place.layers - 1) < stop

    def at(self, place: Place) -> Scalar:
        """Return the value for a tensor that it is for.

        A list is read at t = layer / (layers - 1) within the rule's layers: 0 before them, 1 after them and
        where there is one only, and piecewise linear between the list's entries.
        """
        if not isinstance(self.value, tuple):
            return self.value
        position = self._t(place) * (len(self.value) - 1)
        lower = int(position)
        upper, share = min(lower + 1, len(self.value) - 1), position - lower
        return (1 - share) * self.value[lower] + share * self.value[upper]

    def _t(self, place: Place) -> float:
        start, stop = self.layers or (0, place.layers)
        if place.layer < 0:
            return 0.0
        if place.layer >= place.layers or stop - start <= 1:
            return 1.0
        return (place.layer - start) / (stop - start - 1)


def first_match(candidates: Iterable[Rule], place: Place) -> Scalar | None:
    """Return the value of the first rule that is for a tensor; None if none is."""
    return next((rule.at(place) for rule in candidates if rule.matches(place)), None)


def rules(value: Any) -> tuple[Rule, ...]:
    """Return the rules that a value in a recipe stands for, first match first.

    Args:
        value: As in a recipe: a scalar, a list of numbers, or a list of entries with `value` and perhaps
            `filter` and `layers`.

    Raises:
        ValueError: It is none of these.
    """
    if is_list(value) and value and all(isinstance(entry, dict) for entry in value):
        return tuple(_conditional(entry, index) for index, entry in enumerate(value))
    return (Rule(_value(value)),)


def is_layered(value: Any) -> bool:
    """Return whether a value in a recipe may differ from tensor to tensor."""
    return not isinstance(value, Scalar)


def alternatives(value: Any) -> list[Scalar]:
    """Return every scalar that stands in a value of a recipe, in order."""
    found: list[Scalar] = []
    for rule in rules(value):
        found += rule.value if isinstance(rule.value, tuple) else (rule.value,)
    return found


def as_given(keys: Collection[str], *sides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe that may differ from tensor to tensor, as it has them.

    Args:
        keys: The keys to look for.
        sides: Values by key: those that go first, and then those for what they leave open.
    """
    given = {key: [side[key] for side in sides if key in side] for key in keys}
    return {
        key: [entry for value in values for entry in entries(value)] if len(values) > 1 else values[0]
        for key, values in given.items()
        if values and is_layered(values[0])
    }


def entries(value: Any) -> list[dict[str, Any]]:
    """Return the entries that a value stands for; one without entries of its own is one for all tensors."""
    if is_list(value) and value and isinstance(value[0], dict):
        return list(value)
    return [{"value": value}]


def _value(value: Any) -> Value:
    if isinstance(value, Scalar):
        return value
    if not is_list(value) or not value or not all(_is_number(entry) for entry in value):
        raise ValueError(EXPECTED)
    return tuple(float(entry) for entry in value)


def is_list(value: Any) -> bool:
    """Return whether a value in a recipe is a list, from YAML or from Python."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(value: Any) -> Any:
    """A range of layers has an end after its start."""
    if not is_list(value) or len(value) != 2 or not all(isinstance(end, int) for end in value):
        raise ValueError("expected [first layer, layer after the last]")
    start, stop = value
    if not 0 <= start < stop:
        raise ValueError(f"expected 0 <= first < last, found [{start}, {stop}]")
    return (start, stop)


LayerRange = Annotated[tuple[int, int], BeforeValidator(_range)]
"""First layer, and the layer after the last."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[Any, BeforeValidator(_value)]
    filter: str | None = None
    layers: LayerRange | None = None


def _conditional(entry: dict[str, Any], index: int) -> Rule:
    try:
        checked = _Entry.model_validate(entry)
    except ValidationError as error:
        raise ValueError(describe(error, _Entry, where=f"entry [{index}]")) from error
    return Rule(checked.value, None if checked.filter == "*" else checked.filter, checked.layers)


def _checked(value: Any) -> Any:
    rules(value)
    return value


LayeredValue = Annotated[Any, BeforeValidator(_checked)]
"""A value as it stands in a recipe, of one of the forms that `rules` takes."""
