"""The table of defenses: one line a defense; and those that apply to nothing here."""

from __future__ import annotations

from mergeward.defense import anp, awm, fine_pruning, fortify, sau, wag
from mergeward.defense.inapplicable import INAPPLICABLE
from mergeward.defense.problem import DefenseInfo, Inapplicable
from mergeward.errors import UnsupportedError, UsageError
from mergeward.merge.elsewhere import NO_DEFENSES
from mergeward.merge.registry import METHODS
from mergeward.plugins import Registry

_INAPPLICABLE: dict[str, Inapplicable] = {one.name: one for one in INAPPLICABLE}

DEFENSES = Registry(
    "defense",
    "mergeward.defenses",
    DefenseInfo,
    own=(fine_pruning.INFO, anp.INFO, awm.INFO, sau.INFO, wag.INFO, fortify.INFO),
    taken=_INAPPLICABLE,
    elsewhere=NO_DEFENSES,
)
"""Every defense that can be run, by name."""


def defenses() -> tuple[DefenseInfo, ...]:
    """Return every defense that can be run."""
    return tuple(DEFENSES.values())


def inapplicable() -> tuple[Inapplicable, ...]:
    """Return the published defenses that are refused by name."""
    return tuple(_INAPPLICABLE.values())


def defense_info(name: str) -> DefenseInfo:
    """Return a defense by name.

    Raises:
        UnsupportedError: It is one that applies to no encoder here.
        UsageError: There is none of that name; the error says where it is, or suggests the closest.
    """
    if name in _INAPPLICABLE:
        needs = _INAPPLICABLE[name].needs
        raise UnsupportedError(f"{name}: needs {needs}; a vision transformer has none")
    if name not in DEFENSES and name in METHODS:
        raise UsageError(
            f"unknown defense {name!r}: {name} is a merge method: `merge_method: {name}` in a recipe"
        )
    return DEFENSES.find(name)
