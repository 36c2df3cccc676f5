"""Tables for terminals and for Markdown pages."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from mergeward.bench.results import Results
from mergeward.report.grid import Cell, Column, Grid, Line, controls_grid, results_grid

HOT = 0.5
"""Attack success from which on a terminal shows the number in bold."""

_CAPTION = (
    "percent; attack success with its 95 % Wilson interval; control: the same trigger on the merge of clean"
    " contributions. Rows without an attack show the strongest attack’s trigger."
)


def results_table(results: Results) -> Table:
    """Return the main table for a terminal of 80 columns or more.

    Args:
        results: A whole run.

    Returns:
        One row for each attack and method, in groups under the name of the attack. Rates are percent.
    """
    return _rich(results_grid(results), _CAPTION)


def controls_table(results: Results) -> Table:
    """Return what the main table must be read against, for a terminal.

    Args:
        results: A whole run.

    Returns:
        One row for each model: the base, the clean merges, the clean retrains, the attackers alone.
    """
    return _rich(controls_grid(results), "attacker alone: accuracy on its own task, before merging")


def markdown_table(results: Results) -> str:
    """Return the main table as Markdown, ending in a newline."""
    return _markdown(results_grid(results))


def markdown_controls(results: Results) -> str:
    """Return the table of controls as Markdown, ending in a newline."""
    return _markdown(controls_grid(results))


def _rich(grid: Grid, caption: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for column in grid.columns[1:]:
        # A name that does not fit is folded; a number is never cut.
        table.add_column(
            Text(column.short),
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.numeric,
            vertical="bottom",
        )
    for group in grid.groups:
        table.add_section()
        table.add_row(Text(group.lines[0].cells[0].text, style="bold"))
        for line in group.lines:
            table.add_row(*_rich_cells(line))
    return table


def _rich_cells(line: Line) -> Iterable[Text]:
    _, name, *cells = line.cells
    yield Text(f"  {name.text}")
    for cell in cells:
        hot = cell.heat is not None and cell.heat >= HOT
        yield Text(cell.text, style="bold" if hot else "")


def _markdown(grid: Grid) -> str:
    lines = [
        _markdown_line(_escaped(column.title) for column in grid.columns),
        _markdown_line(_rule(column) for column in grid.columns),
        *(_markdown_line(map(_plain, line.cells)) for group in grid.groups for line in group.lines),
    ]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(column: Column) -> str:
    return "---:" if column.numeric else "---"


def _plain(cell: Cell) -> str:
    return _escaped(cell.text)


def _escaped(text: str) -> str:
    """Keep names of tasks and classes from ending a cell or starting HTML."""
    for character in "\\|<>`*_":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
