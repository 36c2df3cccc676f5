"""From a recipe's parameters to the settings of every tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from mergeward.errors import RecipeError
from mergeward.merge.layers import places
from mergeward.merge.mergekit import without_idle
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.merge.settings import Schedule, Settings
from mergeward.recipe import Place, Rule, alternatives, first_match, is_layered, rules, validated

Values: TypeAlias = Mapping[str, Any]
Keyed: TypeAlias = Mapping[str, Values]
Rules: TypeAlias = dict[str, tuple[Rule, ...]]

NOWHERE = Place("", 0, 1)


def check_parameters(info: MethodInfo, parameters: Values, per_model: Keyed) -> None:
    """Check every value of a recipe's parameters, without knowing the tensors that they are for.

    Args:
        info: The method.
        parameters: The recipe's `parameters`.
        per_model: `models[].parameters` by the key of their entry ("models[0]").

    Raises:
        RecipeError: A key is unknown or a value has the wrong form, type or range, or there are fewer
            or more contributions than the method is defined for; every such key is named.
    """
    if len(per_model) < info.min_contributions:
        raise RecipeError(
            f"models: {info.name} needs at least {info.min_contributions}, the recipe has {len(per_model)}"
        )
    if info.max_contributions is not None and len(per_model) > info.max_contributions:
        raise RecipeError(
            f"models: {info.name} takes at most {info.max_contributions}, the recipe has {len(per_model)}"
        )
    own, shared = _split(info, without_idle(info, parameters)[0])
    _check(info.parameters, own, "parameters", known=_keys(info.model_parameters))
    _check(info.model_parameters, shared, "parameters")
    for key, given in per_model.items():
        _check(info.model_parameters, given, f"{key}.parameters")


def validate_parameters(
    info: MethodInfo, parameters: Values, per_model: Sequence[Values]
) -> Settings[Any, Any]:
    """Return the settings of a recipe whose parameters are the same for all tensors.

    Arguments and errors are those of `schedule`.
    """
    return schedule(info, parameters, per_model).default


def schedule(
    info: MethodInfo,
    parameters: Values,
    per_model: Sequence[Values] | Keyed,
    tensors: Sequence[str] = (),
) -> Schedule[Any, Any]:
    """Check a recipe's parameters, and set every tensor by them.

    A key of the per-model parameters given in `parameters` is the default for every model, and for the
    tensors that none of a model's own entries is for, as in mergekit.

    Args:
        info: The method.
        parameters: The recipe's `parameters`.
        per_model: `models[].parameters`, one mapping for each contribution, perhaps by the key of its entry.
        tensors: Names of the tensors that take part; needed where a value differs from tensor to tensor.

    Raises:
        RecipeError: As in `check_parameters`; or a value that differs from tensor to tensor comes out wrong
            for one of them, or is given to a method that learns from images.
    """
    if not isinstance(per_model, Mapping):
        per_model = {f"models[{index}]": given for index, given in enumerate(per_model)}
    check_parameters(info, parameters, per_model)
    own, shared = _split(info, without_idle(info, parameters)[0])
    resolver = _Resolver(info, _rules(own), {key: _rules(given, shared) for key, given in per_model.items()})
    if not resolver.varies:
        return Schedule(resolver.settings(NOWHERE))
    if info.kind != "static":
        raise RecipeError(f"recipe: parameters: {info.name} takes one value for all tensors")
    by_tensor = {name: resolver.settings(place) for name, place in places(tensors).items()}
    if not by_tensor:
        raise RecipeError("recipe: parameters: a value differs from tensor to tensor, and there is no tensor")
    default = next(iter(by_tensor.values()))
    return Schedule(default, {name: one for name, one in by_tensor.items() if one is not default})


class _Resolver:
    """Finds the settings of one tensor after another; equal ones are one object."""

    def __init__(self, info: MethodInfo, own: Rules, models: Mapping[str, Rules]) -> None:
        self._info = info
        self._own = own
        self._models = models
        self._parameters: dict[tuple[object, ...], Parameters] = {}
        self._settings: dict[tuple[int, ...], Settings[Any, Any]] = {}

    @property
    def varies(self) -> bool:
        """Whether the settings may differ from tensor to tensor."""
        everything = [self._own, *self._models.values()]
        return any(not found[0].everywhere for keyed in everything for found in keyed.values())

    def settings(self, place: Place) -> Settings[Any, Any]:
        """Return the settings of the tensor at one place."""
        parameters = self._at(place, self._info.parameters, self._own, "parameters")
        models = tuple(
            self._at(place, self._info.model_parameters, keyed, f"{key}.parameters")
            for key, keyed in self._models.items()
        )
        return self._settings.setdefault((id(parameters), *map(id, models)), Settings(parameters, models))

    def _at(self, place: Place, model: type[Parameters], keyed: Rules, where: str) -> Parameters:
        found = {key: first_match(candidates, place) for key, candidates in keyed.items()}
        values = {key: value for key, value in found.items() if value is not None}
        signature = (where, *values.items())
        if signature not in self._parameters:
            try:
                self._parameters[signature] = validated(model, values, where=where)
            except RecipeError as error:
                tensor = f" (for tensor {place.name!r})" if place.name else ""
                raise RecipeError(f"{error}{tensor}") from error
        return self._parameters[signature]


def _rules(given: Values, shared: Values | None = None) -> Rules:
    """Return the rules for each key: those given, then those that hold where none of them does."""
    shared = shared or {}
    keys = dict.fromkeys([*given, *shared])
    return {
        key: tuple(rule for side in (given, shared) if key in side for rule in rules(side[key]))
        for key in keys
    }


def _check(model: type[Parameters], values: Values, where: str, known: frozenset[str] = frozenset()) -> None:
    for sample in _samples(values, where):
        validated(model, sample, where=where, known=known)


def _samples(values: Values, where: str) -> Iterator[dict[str, Any]]:
    """Yield mappings of scalars in which each scalar of a recipe's values stands."""
    yield {key: value for key, value in values.items() if not is_layered(value)}
    for key, value in values.items():
        if is_layered(value):
            yield from ({key: scalar} for scalar in _alternatives(value, f"{where}.{key}"))


def _alternatives(value: Any, key: str) -> list[Any]:
    try:
        return list(dict.fromkeys(alternatives(value)))
    except ValueError as error:
        raise RecipeError(f"recipe: {key}: {error}") from error


def _split(info: MethodInfo, parameters: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    model_keys = _keys(info.model_parameters) - _keys(info.parameters)
    own = {key: value for key, value in parameters.items() if key not in model_keys}
    shared = {key: value for key, value in parameters.items() if key in model_keys}
    return own, shared


def _keys(model: type[Parameters]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())
