"""The page as a browser shows it: silent, self-contained, sortable."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import audited
from browser import Browser
from looks import POLICY, seen
from mergeward.bench.results import Results
from mergeward.report import write_audit_page, write_page

ATTACKS = ["none", "badnets", "badmerging-on"]
METHODS = ["average", "task_arithmetic", "ties", "adamerging", "dam"]
FIRST_ORDER = [[attack, method] for attack in ATTACKS for method in METHODS]


@pytest.fixture(scope="module")
def page(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(results, path)
    return path


def test_opens_without_a_word_on_the_console_or_the_network(chromium: Browser, page: Path) -> None:
    opened = chromium.open(page)
    assert opened.console == ()
    assert opened.requests == ()
    assert opened.dom.count("<button") == 8
    with Image.open(opened.screenshot) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 50


def test_lets_no_other_script_run(chromium: Browser, page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "injected.html"
    injected = "<script>document.title = 'taken'</script></main>"
    copy.write_text(page.read_text(encoding="utf-8").replace("</main>", injected), encoding="utf-8")
    opened = chromium.open(copy)
    assert "<title>taken</title>" not in opened.dom
    assert any("Content Security Policy" in line for line in opened.console)


def test_sorts_large_numbers_first_then_last_then_not_at_all(
    chromium: Browser, page: Path, results: Results, tmp_path: Path
) -> None:
    first, second, third = seen(chromium, page, tmp_path, acts="click('asr');" * 3)
    by_success = [[row.attack, row.method] for row in sorted(results.rows, key=lambda row: row.asr)]
    assert first["rows"] == by_success[::-1]
    assert first["sorted"] == {"asr": "descending"}
    assert second["rows"] == by_success
    assert second["sorted"] == {"asr": "ascending"}
    assert third["rows"] == FIRST_ORDER
    assert third["sorted"] == {}


def test_sorts_names_by_the_alphabet_and_rows_without_a_value_last(
    chromium: Browser, page: Path, tmp_path: Path
) -> None:
    acts = "click('method'); click('difference'); click('difference');"
    by_method, *by_difference = seen(chromium, page, tmp_path, acts=acts)
    names = ["adamerging", "average", "dam", "task_arithmetic", "ties"]
    assert [method for _, method in by_method["rows"][::3]] == names
    for look in by_difference:
        assert [attack for attack, _ in look["rows"][-5:]] == ["none"] * 5


def test_the_address_keeps_the_view_and_brings_it_back(chromium: Browser, page: Path, tmp_path: Path) -> None:
    acts = "click('accuracy'); choose('attack', 'badnets');"
    kept = seen(chromium, page, tmp_path, acts=acts)[-1]
    assert kept["address"] == "#sort=accuracy&order=descending&attack=badnets"
    assert kept["rows"] == [
        ["badnets", method] for method in ("adamerging", "dam", "task_arithmetic", "ties", "average")
    ]
    assert kept["status"].startswith("5 of 15 rows, sorted by accuracy")
    [linked] = seen(chromium, page, tmp_path, address=kept["address"])
    assert linked == kept


@pytest.mark.parametrize("address", ["#sort=nonsense&order=up&attack=nobody", "#controls"])
def test_an_address_that_means_nothing_changes_nothing_and_all_fits_a_narrow_window(
    address: str, chromium: Browser, page: Path, tmp_path: Path
) -> None:
    [look] = seen(chromium, page, tmp_path, address=address, width=500)
    assert look["rows"] == FIRST_ORDER
    assert look["sorted"] == {}
    assert not look["tooWide"]


def test_tables_without_filters_are_sorted_too(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    write_audit_page(audited.report(), page)
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    act = """
      const heading = document.querySelector("#evidence-table th[data-key=rank]");
      heading.querySelector("button").click();
      document.body.dataset.log = heading.getAttribute("aria-sort");
    """
    page.write_text(text.replace("</body>", f"<script>{act}</script></body>"), encoding="utf-8")
    opened = chromium.open(page)
    assert opened.console == ()
    assert 'data-log="descending"' in opened.dom
