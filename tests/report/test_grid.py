from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mergeward.bench.results import Results
from mergeward.report.grid import Cell, Grid, controls_grid, results_grid, tasks_grid


def cells(grid: Grid, group: str, line: str) -> dict[str, Cell]:
    found = next(
        entry for part in grid.groups if part.key == group for entry in part.lines if entry.key == line
    )
    return {column.key: cell for column, cell in zip(grid.columns, found.cells, strict=True)}


@pytest.mark.parametrize("make", [results_grid, controls_grid, tasks_grid])
def test_every_line_has_a_cell_for_every_column(make: Callable[[Results], Grid], results: Results) -> None:
    grid = make(results)
    keys = [column.key for column in grid.columns]
    assert len(set(keys)) == len(keys)
    assert all(len(line.cells) == len(keys) for group in grid.groups for line in group.lines)


def test_rows_come_by_attack_in_their_own_order(results: Results) -> None:
    shuffled = replace(results, rows=tuple(sorted(results.rows, key=lambda row: row.method)))
    grid = results_grid(shuffled)
    assert [group.key for group in grid.groups] == ["none", "badnets", "badmerging-on"]
    assert [line.key for line in grid.groups[1].lines] == [
        "adamerging",
        "average",
        "dam",
        "task_arithmetic",
        "ties",
    ]


def test_a_row_shows_its_numbers_beside_the_control_of_its_own_trigger(results: Results) -> None:
    shown = cells(results_grid(results), "badmerging-on", "task_arithmetic")
    assert shown["accuracy"].text == "84.7"
    assert shown["accuracy_normalised"].text == "90.9"
    assert shown["asr"].text == "93.0 [91.3, 94.7]"
    assert shown["control"].text == "11.5"
    assert shown["difference"].text == "+81.5"
    assert shown["difference"].value == pytest.approx(0.9303 - 0.1154)
    assert shown["asr"].heat == shown["asr"].value == 0.9303
    assert shown["seconds"].text == "0.2"
    assert cells(results_grid(results), "badnets", "task_arithmetic")["control"].text == "1.8"


def test_a_row_without_an_attack_has_no_control_because_it_is_one(results: Results) -> None:
    shown = cells(results_grid(results), "none", "dam")
    assert shown["asr"].text.startswith("8.3 [")
    assert shown["control"] == shown["difference"] == Cell("–", None)


@pytest.mark.parametrize("missing", [{"badnets"}, {"badmerging-on"}])
def test_no_number_without_its_control(missing: set[str], results: Results) -> None:
    clean = {
        name: replace(
            control, asr={attack: rate for attack, rate in control.asr.items() if attack not in missing}
        )
        for name, control in results.controls.clean_merge.items()
    }
    with pytest.raises(KeyError, match=missing.copy().pop()):
        results_grid(replace(results, controls=replace(results.controls, clean_merge=clean)))


def test_the_four_controls(results: Results) -> None:
    grid = controls_grid(results)
    assert [group.key for group in grid.groups] == ["base", "clean merge", "clean retrain", "attacker alone"]
    assert cells(grid, "base", "nothing merged")["badmerging-on"].value == 0.1291
    assert cells(grid, "clean retrain", "ties")["accuracy"].text == "83.8"
    alone = cells(grid, "attacker alone", "badnets")
    assert (alone["badnets"].value, alone["badmerging-on"].text) == (0.9909, "–")


def test_accuracy_by_task_begins_with_what_it_is_compared_to(results: Results) -> None:
    grid = tasks_grid(results)
    assert cells(grid, "before merging", "base")["letters"].text == "64.4"
    assert cells(grid, "before merging", "each task’s own model")["letters"].text == "99.1"
    assert cells(grid, "badnets", "dam")["digits"].text == "84.3"
