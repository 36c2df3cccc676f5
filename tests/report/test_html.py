from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mergeward.bench.results import Results
from mergeward.errors import OutputError
from mergeward.report import write_page
from mergeward.report.grid import controls_grid, results_grid, tasks_grid

HOSTILE = '<script>alert("it\'s")</script>'


class Document(HTMLParser):
    """What a page consists of: its elements, and its text without scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in {"script", "style"}:
            self.words += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]


def written(results: Results, folder: Path) -> Document:
    path = folder / "page.html"
    write_page(results, path)
    return Document(path.read_text(encoding="utf-8"))


def test_every_number_is_on_the_page(results: Results, tmp_path: Path) -> None:
    words = written(results, tmp_path).words
    for grid in (results_grid(results), controls_grid(results), tasks_grid(results)):
        for group in grid.groups:
            assert all(cell.text in words for line in group.lines for cell in line.cells)
    for name, value in results.setting.items():
        assert name in words
        assert value in words


def test_the_figures_can_be_taken_away_as_json(results: Results, tmp_path: Path) -> None:
    [address] = [link for link in written(results, tmp_path).attributes("href") if link.startswith("data:")]
    figures = json.loads(base64.b64decode(address.removeprefix("data:application/json;base64,")))
    assert figures == json.loads(json.dumps(results.to_json()))
    assert list(figures) == ["rows", "controls", "setting"]
    assert {"attack", "method", "accuracy", "asr", "asr_low", "asr_high"} <= set(figures["rows"][0])


def test_names_are_text_and_never_markup(results: Results, tmp_path: Path) -> None:
    picture = results.pictures[0]
    example = replace(picture.examples[0], true_class=HOSTILE, predictions={HOSTILE: HOSTILE})
    hostile = replace(
        results,
        rows=tuple(
            replace(row, accuracy_by_task={HOSTILE: 0.5}, target_task=HOSTILE) for row in results.rows
        ),
        setting={HOSTILE: HOSTILE},
        pictures=(replace(picture, target_class=HOSTILE, examples=(example,)),),
    )
    document = written(hostile, tmp_path)
    assert [tag for tag, _ in document.elements].count("script") == 1
    assert document.words.count(HOSTILE) >= 8
    assert any(HOSTILE in text for text in document.attributes("alt"))


def test_nothing_is_fetched_from_anywhere(results: Results, tmp_path: Path) -> None:
    document = written(results, tmp_path)
    addresses = document.attributes("src") + document.attributes("href")
    assert len(addresses) > 30
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?:|@import|url\(", (tmp_path / "page.html").read_text(encoding="utf-8"))


def test_every_picture_has_a_text_and_every_link_a_goal(results: Results, tmp_path: Path) -> None:
    document = written(results, tmp_path)
    images = [attributes for tag, attributes in document.elements if tag == "img"]
    assert len(images) == 2 * 3 + 2 * 8 * 2
    assert all(image["alt"] for image in images)
    identifiers = document.attributes("id")
    assert len(set(identifiers)) == len(identifiers)
    goals = [link.removeprefix("#") for link in document.attributes("href") if link.startswith("#")]
    assert set(goals + document.attributes("aria-labelledby")) <= set(identifiers)


def test_equal_results_give_equal_bytes(results: Results, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page(results, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("attacks", [{"none"}, {"badnets"}, {"none", "badnets"}])
def test_smaller_runs_and_runs_without_pictures(attacks: set[str], results: Results, tmp_path: Path) -> None:
    rows = tuple(row for row in results.rows if row.attack in attacks)
    document = written(replace(results, rows=rows, pictures=()), tmp_path)
    assert "img" not in [tag for tag, _ in document.elements]
    assert "#triggers" not in document.attributes("href")
    assert ("#charts" in document.attributes("href")) == ("badnets" in attacks)
    assert "BadMerging" not in document.words.split("Controls")[0]


def test_missing_folders_are_made_and_an_old_page_is_replaced(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "index.html"
    write_page(results, path)
    path.write_text("old", encoding="utf-8")
    write_page(results, path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(path.parent.iterdir()) == [path]


def test_a_page_that_cannot_be_written_is_one_clear_error(results: Results, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/page\.html: cannot be written"):
        write_page(results, tmp_path / "file" / "page.html")


def test_a_full_disk_leaves_the_old_page(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_page(results, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
