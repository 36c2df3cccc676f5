"""The page as a browser shows it: silent, self-contained, sortable."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import audited
from browser import Browser
from mergeward.bench.results import Results
from mergeward.report import write_audit_page, write_page

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_LOG = re.compile(r'<body data-log="([^"]*)"')

ATTACKS = ["none", "badnets", "badmerging-on"]
METHODS = ["average", "task_arithmetic", "ties", "adamerging", "dam"]
FIRST_ORDER = [[attack, method] for attack in ATTACKS for method in METHODS]

# What a reader has before them: the rows shown, the sorted columns, the status line, the address.
LOOK = """
const log = [];
function look() {
  const table = document.getElementById("result-table");
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const sorted = [...table.tHead.rows[0].cells].filter((cell) => cell.hasAttribute("aria-sort"));
  log.push({
    rows: rows.map((row) => [row.dataset.group, row.dataset.key]),
    sorted: Object.fromEntries(sorted.map((cell) => [cell.dataset.key, cell.getAttribute("aria-sort")])),
    status: document.querySelector("output").textContent,
    address: location.hash,
    tooWide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  });
  document.body.dataset.log = JSON.stringify(log);
}
function click(key) {
  document.querySelector(`#result-table th[data-key=${key}] button`).click();
  look();
}
function choose(name, value) {
  const filter = document.querySelector(`select[data-filter=${name}]`);
  filter.value = value;
  filter.dispatchEvent(new Event("change"));
  look();
}
"""


@pytest.fixture(scope="module")
def page(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(results, path)
    return path


def seen(
    browser: Browser, page: Path, folder: Path, *, acts: str = "look();", address: str = "", width: int = 1280
) -> list[dict[str, Any]]:
    """Open a copy of the page at an address, act on it, and return what was seen after each act.

    The page's own policy lets no other script run, so the copy has none.
    """
    text = _POLICY.sub("", page.read_text(encoding="utf-8"))
    text = text.replace("<body>", f"<body><script>location.hash = '{address}';</script>")
    copy = folder / "acted-on.html"
    copy.write_text(text.replace("</body>", f"<script>{LOOK}{acts}</script></body>"), encoding="utf-8")
    opened = browser.open(copy, width=width, height=900)
    assert opened.console == ()
    log = _LOG.search(opened.dom)
    assert log is not None
    looks: list[dict[str, Any]] = json.loads(html.unescape(log[1]))
    return looks


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
    text = _POLICY.sub("", page.read_text(encoding="utf-8"))
    act = """
      const heading = document.querySelector("#evidence-table th[data-key=rank]");
      heading.querySelector("button").click();
      document.body.dataset.log = heading.getAttribute("aria-sort");
    """
    page.write_text(text.replace("</body>", f"<script>{act}</script></body>"), encoding="utf-8")
    opened = chromium.open(page)
    assert opened.console == ()
    assert 'data-log="descending"' in opened.dom
