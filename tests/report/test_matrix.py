"""Attacks against merges as papers print them: rows, columns, sections, and the table on the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from browser import Browser
from invented_run import a_line, a_run
from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line
from mergeward.report import write_run_page
from mergeward.report.matrix import Matrix, matrix

TABLE = re.compile(r'<table id="matrix-1".*?</table>', re.DOTALL)


def attacked(axes: dict[str, object], success: float, **names: str) -> Line:
    return a_line("attacked merge", axes, success, **names)


def test_a_row_for_each_attack_and_a_column_for_each_merge() -> None:
    lines = [attacked({}, 0.9), attacked({}, 0.2, method="dam"), attacked({}, 0.5, attack="wanet")]
    found = matrix([*lines, a_line("clean merge", {}, 0.1)])
    assert found is not None
    assert found.columns == ("TIES", "DAM")
    (section,) = found.sections
    assert section.title == ""
    rows = {row.attack: [entry and entry.text for entry in row.entries] for row in section.rows}
    assert rows == {"BadNets": ["90.0", "20.0"], "WaNet": ["50.0", None]}


def test_an_entry_has_its_interval_and_its_colour() -> None:
    found = matrix([attacked({}, 0.9), attacked({}, 0.2, method="dam")])
    assert found is not None
    entry = found.sections[0].rows[0].entries[0]
    assert entry is not None
    assert (entry.rate, entry.text, entry.interval, entry.clean) == (0.9, "90.0", "[90.0, 90.0]", "10.0")


def texts(found: Matrix | None) -> dict[str, list[str | None]]:
    """Return the figures of the only section, by attack."""
    assert found is not None
    (section,) = found.sections
    return {row.attack: [entry and entry.text for entry in row.entries] for row in section.rows}


def test_accuracies_begin_with_merges_that_nobody_attacked_and_with_the_base() -> None:
    base = replace(a_line("base", {}, 0.3), accuracy=Estimate(0.7, 0.6, 0.8, 3))
    clean = a_line("clean merge", {}, 0.1)
    lines = [base, clean, attacked({}, 0.9), attacked({}, 0.2, method="dam")]
    found = matrix(lines, "accuracy")
    assert found is not None
    assert found.columns == ("base alone", "TIES", "DAM")
    assert texts(found) == {"none (all clean)": ["70.0", "50.0", None], "BadNets": [None, "50.0", "50.0"]}


def test_each_attack_has_its_own_trigger_on_the_base_of_its_tasks() -> None:
    lines = [
        a_line("base", {"tasks": 2}, 0.1),
        a_line("base", {"tasks": 2}, 0.2, attack="wanet"),
        a_line("base", {"tasks": 3}, 0.3),
        attacked({"tasks": 2, "method.weight": 0.3}, 0.9),
        attacked({"tasks": 2, "method.weight": 0.3}, 0.8, attack="wanet"),
    ]
    assert texts(matrix(lines)) == {"BadNets": ["10.0", "90.0"], "WaNet": ["20.0", "80.0"]}
    assert texts(matrix([*lines, a_line("base", {"tasks": 2}, 0.4, attack="sig")])) == texts(matrix(lines))


def test_what_concerns_attackers_parts_rows_and_all_else_parts_sections() -> None:
    lines = [
        attacked({"attack.patch_size": size, "method.weight": weight}, 0.5)
        for weight in (0.1, 0.3)
        for size in (2, 4)
    ]
    found = matrix(lines)
    assert found is not None
    rows = ["BadNets, patch size 2", "BadNets, patch size 4"]
    assert {part.title: [row.attack for row in part.rows] for part in found.sections} == {
        "weight 0.1": rows,
        "weight 0.3": rows,
    }


def test_the_merge_without_a_defense_is_named_beside_those_that_have_one() -> None:
    found = matrix([attacked({}, 0.9), attacked({}, 0.2, defense="awm")])
    assert found is not None
    assert [part.title for part in found.sections] == ["no defense", "AWM"]


def test_a_merge_that_collapsed_is_marked_in_every_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [replace(attacked({}, 0.5), collapsed=2), replace(attacked({}, 0.6, method="dam"), collapsed=0)]
    monkeypatch.setattr("mergeward.report.run_page.summarise", lambda _: lines)
    write_run_page([a_run()], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count("<small>collapsed: 2</small>") == 2  # beside success and accuracy
    assert '<th scope="row" data-value="TIES">TIES (collapsed: 2)</th>' in text
    assert '<th scope="row" data-value="DAM">DAM</th>' in text


@pytest.mark.parametrize("lines", [[], [attacked({}, 0.9)], [a_line("clean merge", {}, 0.1)] * 3])
def test_one_figure_is_no_table(lines: list[Line]) -> None:
    assert matrix(lines) is None


def test_the_page_has_it_with_a_name_and_headings_that_are_read_out(tmp_path: Path) -> None:
    write_run_page([a_run()], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert 'id="matrix-1-caption">Attack success %, s:' in text
    (table,) = TABLE.findall(text)
    assert 'aria-labelledby="matrix-1-caption"' in table
    assert re.findall(r'<th scope="(\w+)"[^>]*>([^<]*)<', table) == [
        ("col", "attack"),
        ("col", "base alone"),
        ("col", "TIES"),
        ("col", "DAM"),
        ("row", "BadNets"),
    ]
    assert '--heat: 0.900">90.0 <small>[82.6, 94.5]</small> <small>clean 4.5</small>' in table
    assert 'id="matrix-2-caption">Accuracy %, s:' in text


SCROLL = """
const table = document.getElementById("matrix-1");
const first = table.tBodies[0].rows[0].cells[0];
const before = first.getBoundingClientRect().left;
table.parentElement.scrollLeft = 200;
document.body.dataset.log = [
  document.documentElement.scrollWidth <= document.documentElement.clientWidth,
  table.parentElement.scrollLeft,
  first.getBoundingClientRect().left - before,
].join(" ");
"""


@pytest.mark.slow
def test_in_a_narrow_window_merges_are_scrolled_and_the_attack_stays(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [attacked({}, 0.5, method=f"merge-{number}") for number in range(14)]
    monkeypatch.setattr("mergeward.report.run_page.summarise", lambda _: lines)
    page = tmp_path / "report.html"
    write_run_page([a_run()], page)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    page.write_text(text.replace("</body>", f"<script>{SCROLL}</script></body>"))
    seen = chromium.open(page, width=500)
    assert seen.console == ()
    assert 'data-log="true 200 0"' in seen.dom
