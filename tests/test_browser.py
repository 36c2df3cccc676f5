"""The helper that page tests rely on must notice what a page does wrong."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from browser import Browser


def write(folder: Path, body: str) -> Path:
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>t</title><body>{body}</body>", encoding="utf-8"
    )
    return page


def test_page_is_read_after_its_scripts_ran(chromium: Browser, tmp_path: Path) -> None:
    script = "setTimeout(() => { document.body.innerHTML = '<b id=x>' + (6 * 7) + '</b>' }, 500)"
    page = chromium.open(write(tmp_path, f"<script>{script}</script>"), width=320, height=200)
    assert '<b id="x">42</b>' in page.dom
    assert page.console == ()
    assert page.requests == ()
    with Image.open(page.screenshot) as picture:
        assert picture.size == (320, 200)


def test_errors_reach_the_console(chromium: Browser, tmp_path: Path) -> None:
    page = chromium.open(write(tmp_path, "<script>missing.name</script>"))
    assert any("ReferenceError" in line for line in page.console)


def test_a_page_that_asks_for_something_from_elsewhere_is_noticed(chromium: Browser, tmp_path: Path) -> None:
    page = chromium.open(write(tmp_path, "<img src='http://example.invalid/a.png'>"))
    assert page.requests == ("http://example.invalid/a.png",)
