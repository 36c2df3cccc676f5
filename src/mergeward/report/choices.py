"""What the rows of a page's first table can be filtered by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mergeward.report.grid import Grid
from mergeward.report.words import label


@dataclass(frozen=True)
class Choice:
    """One filter.

    Attributes:
        name: What it is called in the address of a view.
        title: What it is called on the page.
        of: Which of a row's data attributes it looks at.
        options: The values that rows have, and how they are shown.
    """

    name: str
    title: str
    of: str
    options: tuple[tuple[str, str], ...]


def choices(grid: Grid) -> tuple[Choice, ...]:
    """Return the filters of a table: attack and method, and each mark of which its rows have several."""
    lines = [line for group in grid.groups for line in group.lines]
    names = dict.fromkeys(name for line in lines for name in line.marks)
    marked = (_choice(name, name, (line.marks[name] for line in lines)) for name in names)
    return (
        _choice("attack", "group", (group.key for group in grid.groups)),
        _choice("method", "key", (line.key for line in lines)),
        *(choice for choice in marked if len(choice.options) > 1),
    )


def _choice(name: str, of: str, values: Iterable[str]) -> Choice:
    # Suites are shown as commands call them.
    shown = {value: value if name == "suite" else _shown(name, value) for value in values}
    return Choice(name, name.capitalize(), of, tuple(shown.items()))


def _shown(name: str, value: str) -> str:
    return "no defense" if (name, value) == ("defense", "none") else label(value)
