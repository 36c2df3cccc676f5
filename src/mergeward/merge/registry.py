"""The table of merge methods: one line a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergeward.errors import RecipeError, unknown_name
from mergeward.merge.adaptive import adamerging, dam
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.merge.settings import Schedule, Settings
from mergeward.merge.static import (
    average,
    breadcrumbs,
    consensus,
    dare,
    della,
    emr,
    isotropic,
    knots,
    magmax,
    model_stock,
    order,
    pcb,
    robust,
    spherical,
    task_arithmetic,
    ties,
    tsv,
    wudi,
)
from mergeward.recipe import validated

METHODS: Mapping[str, MethodInfo] = {
    info.name: info
    for info in (
        average.INFO,
        task_arithmetic.INFO,
        ties.INFO,
        dare.LINEAR,
        dare.TIES,
        breadcrumbs.LINEAR,
        breadcrumbs.TIES,
        della.TIES,
        della.LINEAR,
        magmax.INFO,
        consensus.INFO,
        model_stock.INFO,
        spherical.SLERP,
        spherical.NUSLERP,
        spherical.MULTISLERP,
        spherical.KARCHER,
        tsv.INFO,
        isotropic.COMMON,
        isotropic.SUBSPACES,
        wudi.INFO,
        emr.INFO,
        pcb.INFO,
        knots.INFO,
        order.MEDIAN,
        order.TRIMMED_MEAN,
        robust.GEOMETRIC_MEDIAN,
        robust.MULTI_KRUM,
        adamerging.INFO,
        dam.INFO,
    )
}
"""Every merge method by name, in the order in which tables show them."""


def methods() -> tuple[MethodInfo, ...]:
    """Return every merge method, in the order in which tables show them."""
    return tuple(METHODS.values())


def method(name: str) -> MethodInfo:
    """Return the merge method of one name.

    Raises:
        UsageError: There is none of that name; the error suggests the closest.
    """
    if name not in METHODS:
        raise unknown_name("merge method", name, METHODS)
    return METHODS[name]


def validate_parameters(
    info: MethodInfo, parameters: Mapping[str, Any], per_model: Sequence[Mapping[str, Any]]
) -> Settings[Any, Any]:
    """Check a recipe's parameters against those of its method.

    A key of the per-model parameters given in `parameters` is the default for every model, as in mergekit.

    Args:
        info: The method.
        parameters: The recipe's `parameters`.
        per_model: `models[].parameters`, one mapping for each contribution.

    Returns:
        The method's parameters, and those of each contribution in the order given.

    Raises:
        RecipeError: A key is unknown or a value has the wrong type or range, or there are fewer
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
    own, shared = _split(info, parameters)
    return Settings(
        validated(info.parameters, own, where="parameters", known=_keys(info.model_parameters)),
        tuple(
            validated(info.model_parameters, {**shared, **given}, where=f"models[{index}].parameters")
            for index, given in enumerate(per_model)
        ),
    )


def schedule(
    info: MethodInfo, parameters: Mapping[str, Any], per_model: Sequence[Mapping[str, Any]]
) -> Schedule[Any, Any]:
    """Check a recipe's parameters as `validate_parameters` does, and set every tensor by them."""
    return Schedule(validate_parameters(info, parameters, per_model))


def _split(info: MethodInfo, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    model_keys = _keys(info.model_parameters) - _keys(info.parameters)
    own = {key: value for key, value in parameters.items() if key not in model_keys}
    shared = {key: value for key, value in parameters.items() if key in model_keys}
    return own, shared


def _keys(model: type[Parameters]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())
