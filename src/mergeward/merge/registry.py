"""The table of merge methods: one line a method."""

from __future__ import annotations

from mergeward.errors import UsageError
from mergeward.merge.adaptive import adamerging, concrete, dam, fisher, fortify, regmean
from mergeward.merge.elsewhere import NO_METHODS
from mergeward.merge.mergekit import ALIASES, OTHER_WORK
from mergeward.merge.method import MethodInfo
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
from mergeward.plugins import Registry

METHODS = Registry(
    "merge method",
    "mergeward.methods",
    MethodInfo,
    own=(
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
        fisher.INFO,
        regmean.INFO,
        adamerging.INFO,
        concrete.TASK_ARITHMETIC,
        concrete.ADAMERGING,
        dam.INFO,
        fortify.INFO,
    ),
    taken=(*ALIASES, *OTHER_WORK),
    elsewhere=NO_METHODS,
)
"""Every merge method by name, in the order in which tables show them."""


def methods() -> tuple[MethodInfo, ...]:
    """Return every merge method, in the order in which tables show them."""
    return tuple(METHODS.values())


def method(name: str) -> MethodInfo:
    """Return the merge method of one name, or of the name that mergekit has for it.

    Raises:
        UsageError: There is none of that name; the error says where it is, or suggests the closest.
    """
    if name in OTHER_WORK:
        raise UsageError(f"merge method {name!r} is not supported: {OTHER_WORK[name]}")
    return METHODS.find(ALIASES.get(name, name))
