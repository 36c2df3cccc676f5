"""What a reader of a page has before them as they sort and filter its first table, in a browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from browser import Browser

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
"""Which scripts a page lets run."""

_LOG = re.compile(r'<body data-log="([^"]*)"')

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
  const filter = document.querySelector(`[data-filter=${name}]`);
  filter.value = value;
  filter.dispatchEvent(new Event("input"));
  look();
}
"""
"""Logs the rows shown, the sorted columns, the status line and the address."""


def seen(
    browser: Browser,
    page: Path,
    folder: Path,
    *,
    acts: str = "look();",
    address: str = "",
    width: int = 1280,
    dark: bool = False,
) -> list[dict[str, Any]]:
    """Open a copy of the page at an address, act on it, and return what was seen after each act.

    The page's own policy lets no other script run, so the copy has none.
    """
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    text = text.replace("<body>", f"<body><script>location.hash = '{address}';</script>")
    copy = folder / "acted-on.html"
    copy.write_text(text.replace("</body>", f"<script>{LOOK}{acts}</script></body>"), encoding="utf-8")
    opened = browser.open(copy, width=width, height=900, dark=dark)
    assert opened.console == ()
    log = _LOG.search(opened.dom)
    assert log is not None
    looks: list[dict[str, Any]] = json.loads(html.unescape(log[1]))
    return looks
