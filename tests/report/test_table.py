from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from mergeward.bench.results import Results
from mergeward.report import controls_table, markdown_controls, markdown_table, results_table
from mergeward.report.grid import Grid, controls_grid, results_grid


def printed(table: Table, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def numbers(grid: Grid) -> list[str]:
    return [cell.text for group in grid.groups for line in group.lines for cell in line.cells[2:]]


@pytest.mark.parametrize("width", [80, 120])
def test_an_ordinary_terminal_shows_every_number_whole(width: int, results: Results) -> None:
    assert set(numbers(results_grid(results))) - set(_fields(printed(results_table(results), width))) == set()
    assert (
        set(numbers(controls_grid(results))) - set(_fields(printed(controls_table(results), width))) == set()
    )


def _fields(text: str) -> list[str]:
    """Split printed lines where two spaces, or one beside a number, part the columns."""
    words = text.split()
    triples = [" ".join(words[index : index + 3]) for index in range(len(words))]
    return words + triples


def test_the_rows_stand_below_the_name_of_their_attack(results: Results) -> None:
    lines = [line.strip() for line in printed(results_table(results), 80).splitlines()]
    assert lines.index("none (all clean)") < lines.index("BadNets") < lines.index("BadMerging on-task")
    under_badnets = lines[lines.index("BadNets") + 1 : lines.index("BadMerging on-task")]
    assert [line.split("  ")[0] for line in under_badnets if line] == [
        "average",
        "task arithmetic",
        "TIES",
        "AdaMerging",
        "DAM",
    ]


def test_markup_in_a_name_is_shown_as_it_is(results: Results) -> None:
    rows = tuple(replace(row, method="[red]x[/red]") for row in results.rows if row.attack == "none")
    assert "[red]x[/red]" in printed(results_table(replace(results, rows=rows)), 120)


def test_markdown_has_one_line_a_row_and_one_cell_a_column(results: Results) -> None:
    lines = markdown_table(results).splitlines()
    assert len(lines) == 2 + len(results.rows)
    assert {line.count("|") for line in lines} == {9}
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[-1] == ("| BadMerging on-task | DAM | 10.2 [8.2, 12.2] | 8.3 | +1.8 | 90.0 | 96.6 | 61.3 |")


def test_markdown_controls(results: Results) -> None:
    lines = markdown_controls(results).splitlines()
    assert len(lines) == 2 + 1 + 5 + 5 + 2
    assert lines[2] == "| base | nothing merged | 58.4 | 1.6 [0.8, 2.4] | 12.9 [10.7, 15.1] |"


def test_a_name_cannot_break_out_of_its_markdown_cell(results: Results) -> None:
    rows = tuple(replace(row, method="a|b\n<b>`") for row in results.rows if row.attack == "none")
    last = markdown_table(replace(results, rows=rows)).splitlines()[-1]
    assert r"| a\|b \<b\>\` |" in last
