"""The page of an audit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from audited import finding, report
from mergeward.errors import OutputError
from mergeward.report import write_audit_page
from mergeward.report.audit_findings import LEFT, RIGHT, finding_card
from mergeward.report.audit_page import evidence_grid, profiles_grid


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "audit.html"
    write_audit_page(report(), path)
    return path.read_text(encoding="utf-8")


def test_it_says_the_verdict_and_what_was_not_looked_at(page: str) -> None:
    assert "<h1>Audit: suspect</h1>" in page
    assert "2 of 3 contributions examined" in page
    assert "what &lt;nobody&gt; looks at" in page
    assert "Not examined by margins" in page


def test_it_asks_for_nothing_and_escapes_what_is_not_its_own(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "stop <sign>" not in page
    assert "<nobody>" not in page


def test_it_shows_pattern_mask_and_examples(page: str) -> None:
    section = page.partition('id="triggers"')[2].partition("</section>")[0]
    assert section.count("<img") == 3 + 2 * 2
    assert section.count("<rect") == 3


def test_suspects_come_first_and_the_base_last() -> None:
    assert [group.key for group in evidence_grid(report()).groups] == ["bad", "broken", "good", "base"]


def test_the_base_is_not_judged(page: str) -> None:
    (line,) = evidence_grid(report()).groups[-1].lines
    assert [cell.text for cell in line.cells[:2]] == ["not judged", "base"]
    assert "<dt>not judged</dt>" in page


def test_layers_are_shares_of_the_squared_length() -> None:
    grid = profiles_grid(report())
    assert grid is not None
    assert [[cell.text for cell in line.cells[1:]] for line in grid.groups[0].lines] == [
        ["good", "36.0", "64.0"],
        ["bad", "36.0", "64.0"],
    ]
    assert profiles_grid(replace(report(), contributions=())) is None


def test_bars_stand_for_the_rises_the_most_telling_first() -> None:
    card = finding_card(finding())
    assert [bar.name for bar in card.bars] == ["bad", "broken", "good"]
    assert [bar.width for bar in card.bars] == pytest.approx(
        [5 / 6 * (RIGHT - LEFT), 0, (RIGHT - LEFT) / 6], abs=0.1
    )
    assert card.bars[2].x == LEFT
    assert card.bars[0].x == pytest.approx(LEFT + (RIGHT - LEFT) / 6, abs=0.1)


def test_the_fortified_merge_is_named_only_where_it_was_tried() -> None:
    assert finding_card(finding()).facts["on the fortified merge"] == "12\N{NO-BREAK SPACE}%"
    assert "on the fortified merge" not in finding_card(replace(finding(), fortified_success=None)).facts


def test_a_page_without_findings_has_no_section_for_them(tmp_path: Path) -> None:
    write_audit_page(replace(report(), findings=()), tmp_path / "audit.html")
    assert 'id="triggers"' not in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_audit_page(report(), tmp_path / "file" / "audit.html")
