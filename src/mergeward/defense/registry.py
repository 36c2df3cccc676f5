"""The table of defenses: one line a defense; and those that apply to nothing here."""

from __future__ import annotations

from mergeward.defense import anp, awm, fine_pruning, fortify, sau, wag
from mergeward.defense.inapplicable import INAPPLICABLE
from mergeward.defense.problem import DefenseInfo, Inapplicable
from mergeward.errors import UnsupportedError, unknown_name

_DEFENSES: dict[str, DefenseInfo] = {
    module.INFO.name: module.INFO for module in (fine_pruning, anp, awm, sau, wag, fortify)
}
_INAPPLICABLE: dict[str, Inapplicable] = {one.name: one for one in INAPPLICABLE}


def defenses() -> tuple[DefenseInfo, ...]:
    """Return every defense that can be run."""
    return tuple(_DEFENSES.values())


def inapplicable() -> tuple[Inapplicable, ...]:
    """Return the published defenses that are refused by name."""
    return tuple(_INAPPLICABLE.values())


def defense_info(name: str) -> DefenseInfo:
    """Return a defense by name.

    Raises:
        UnsupportedError: It is one that applies to no encoder here.
        UsageError: There is none of that name.
    """
    if name in _INAPPLICABLE:
        needs = _INAPPLICABLE[name].needs
        raise UnsupportedError(f"{name}: needs {needs}; a vision transformer has none")
    if name not in _DEFENSES:
        raise unknown_name("defense", name, _DEFENSES)
    return _DEFENSES[name]
