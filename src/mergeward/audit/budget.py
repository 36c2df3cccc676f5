"""How much an audit may spend."""

from __future__ import annotations

from enum import StrEnum

from mergeward.errors import unknown_name


class Budget(StrEnum):
    """From cheap to dear; each includes the stages of those before it."""

    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"

    def covers(self, least: Budget) -> bool:
        """Whether a stage that asks for `least` runs."""
        order = list(Budget)
        return order.index(self) >= order.index(least)


def as_budget(name: str) -> Budget:
    """Return a budget by name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in list(Budget):
        raise unknown_name("budget", name, [one.value for one in Budget])
    return Budget(name)
