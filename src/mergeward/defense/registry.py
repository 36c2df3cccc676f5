"""The table of defenses: one line a defense."""

from __future__ import annotations

from mergeward.defense import fine_pruning
from mergeward.defense.problem import DefenseInfo
from mergeward.errors import unknown_name

_DEFENSES: dict[str, DefenseInfo] = {module.INFO.name: module.INFO for module in (fine_pruning,)}


def defenses() -> tuple[DefenseInfo, ...]:
    """Return every defense."""
    return tuple(_DEFENSES.values())


def defense_info(name: str) -> DefenseInfo:
    """Return a defense by name; `UsageError` when there is none of that name."""
    if name not in _DEFENSES:
        raise unknown_name("defense", name, _DEFENSES)
    return _DEFENSES[name]
