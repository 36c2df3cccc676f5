"""The page of a run: what it shows, and that a browser shows it without a word of complaint."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from browser import Browser
from invented_run import a_line, a_run, a_swept_run
from looks import seen
from mergeward.bench.estimate import Estimate
from mergeward.report import write_run_page
from mergeward.report.run_page import _title
from mergeward.report.scatter import pareto, scatter


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "report.html"
    write_run_page([a_run()], path)
    return path


def test_every_merge_has_its_row_with_its_controls(page: Path) -> None:
    text = page.read_text()
    rows = re.findall(r'<tr data-group="([^"]*)" data-key="([^"]*)"', text)
    assert rows[:4] == [("badnets", "ties"), ("badnets", "dam"), ("none", "ties"), ("none", "dam")]
    assert "90.0 [82.6, 94.5]" in text
    assert "+85.5" in text  # 90 minus the mean of 4 and 5
    assert "nothing merged" in text
    keys = re.findall(r'data-key="([^"]*)"', text[text.index('<table id="result-table"') :])
    assert keys[keys.index("success") + 1] == "accuracy"


def test_what_failed_is_said_and_nothing_from_outside_is_markup(page: Path) -> None:
    text = page.read_text()
    assert "&lt;no luck&gt;" in text
    assert "<suite>" not in text


def test_a_control_that_lacks_a_trigger_is_told(tmp_path: Path) -> None:
    run = a_run()
    control = next(row for row in run.cells if row.kind == "clean merge")
    partial = replace(control, error="without the trigger of sig: no luck")
    cells = [partial if row is control else row for row in run.cells]
    write_run_page([replace(run, cells=cells)], tmp_path / "page.html")
    assert "without the trigger of sig: no luck" in (tmp_path / "page.html").read_text()


def test_equal_runs_are_equal_pages(page: Path, tmp_path: Path) -> None:
    write_run_page([a_run()], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_rows_and_plots_of_several_runs_say_which_they_are_of(page: Path, tmp_path: Path) -> None:
    one = a_run()
    other = replace(one, about={**one.about, "suite": {**one.about["suite"], "name": "other"}})
    write_run_page([one, other], tmp_path / "two.html")
    text = (tmp_path / "two.html").read_text()
    rows = re.findall(r'<tr data-group="([^"]*)" data-key="([^"]*)"', text)
    assert rows[:8] == [("badnets", "ties"), ("badnets", "dam"), ("none", "ties"), ("none", "dam")] * 2
    assert text.count("<figcaption>BadNets (s)</figcaption>") == 1
    assert text.count("<figcaption>BadNets (other)</figcaption>") == 1
    assert text.count('<option value="badnets">') == 1
    assert "BadNets (s)" not in page.read_text()


def test_runs_of_one_suite_are_told_apart_by_their_files(tmp_path: Path) -> None:
    runs = [replace(a_run(), path=Path(folder) / "run.sqlite") for folder in ("before", "after")]
    write_run_page(runs, tmp_path / "two.html")
    text = (tmp_path / "two.html").read_text()
    assert text.count("<figcaption>BadNets (before/run.sqlite)</figcaption>") == 1
    assert text.count("<figcaption>BadNets (after/run.sqlite)</figcaption>") == 1


def test_merges_of_other_tasks_are_not_compared() -> None:
    lines = [
        replace(a_line("attacked merge", {"tasks": len(tasks)}, 0.5, method=method), tasks=tuple(tasks))
        for tasks in ("ab", "abcdef")
        for method in ("ties", "dam")
    ]
    plots = scatter(lines)
    assert [plot.title for plot in plots] == ["BadNets, 2 tasks", "BadNets, 6 tasks"]


def test_one_merge_is_no_plot() -> None:
    assert scatter([a_line("attacked merge", {}, 0.5), a_line("attacked merge", {}, 0.5, attack="sig")]) == ()


def test_axes_end_beside_what_was_measured_and_never_beyond_all() -> None:
    [plot] = scatter([a_line("attacked merge", {}, rate, method=str(rate)) for rate in (0.0, 1.0)])
    assert plot.across == (-2.0, 102.0)
    assert plot.up == (48.0, 52.0)


def test_the_front_is_a_stair_from_the_bottom_to_the_right() -> None:
    figures = {"a": (0.2, 0.5), "b": (0.4, 0.7), "beaten": (0.5, 0.6)}
    lines = [
        replace(a_line("attacked merge", {}, x, method=name), accuracy=Estimate(y, y, y, 3))
        for name, (x, y) in figures.items()
    ]
    [plot] = scatter(lines)
    corners = [[round(x, 6), round(y, 6)] for x, y in plot.stairs]
    assert corners == [[20, 48], [20, 50], [40, 50], [40, 70], [53, 70]]


def test_charts_may_make_pictures_of_themselves(page: Path) -> None:
    assert "img-src data: blob:" in page.read_text()


def test_the_front_is_of_what_nothing_beats() -> None:
    assert pareto([(0.5, 0.5), (0.5, 0.6), (0.4, 0.4), (0.5, 0.6)]) == [False, True, True, True]
    assert pareto([]) == []


@pytest.mark.slow
def test_a_browser_shows_it_sorted_and_silent(page: Path, chromium: Browser, tmp_path: Path) -> None:
    shown = tmp_path / "sorted.html"
    shown.write_text(page.read_text())
    seen = chromium.open(shown)
    assert seen.console == ()
    assert seen.requests == ()
    assert "4 of 4 rows" in seen.dom
    assert re.findall(r"<svg class=.main-svg", seen.dom), "Plotly has drawn"
    buttons = re.findall(r'class="modebar-btn[^>]*aria-label="([^"]*)"', seen.dom)
    assert "Download plot as a PNG" in buttons
    assert not [button for button in buttons if "hare" in button], "nothing is sent to a server"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two runs with axes, defenses and galleries."""
    path = tmp_path_factory.mktemp("swept") / "swept.html"
    write_run_page([a_swept_run("one"), a_swept_run("two")], path)
    return path


@pytest.mark.parametrize(("of_one", "names"), [(True, []), (False, ["suite"])])
def test_there_is_a_filter_for_what_rows_differ_in(of_one: bool, names: list[str], tmp_path: Path) -> None:
    runs = [a_swept_run("one"), a_swept_run("two")][: 1 if of_one else 2]
    write_run_page(runs, tmp_path / "page.html")
    found = re.findall(r'data-filter="(\w+)"', (tmp_path / "page.html").read_text())
    assert found == ["attack", "method", "defense", *names, "text"]
    write_run_page([a_run()], tmp_path / "plain.html")
    assert 'data-filter="defense"' not in (tmp_path / "plain.html").read_text()


@pytest.mark.slow
def test_in_a_browser_rows_are_sorted_and_filtered_by_all_that_they_differ_in(
    swept: Path, chromium: Browser, tmp_path: Path
) -> None:
    acts = """
      click('success'); click('success'); choose('attack', 'wanet'); choose('defense', 'awm');
      choose('suite', 'two'); choose('text', 'WEIGHT 0.3'); choose('method', 'average');
    """
    falling, rising, *filtered = seen(chromium, swept, tmp_path, acts=acts, dark=True)
    assert falling["sorted"] == {"success": "descending"}
    assert rising["sorted"] == {"success": "ascending"}
    assert (falling["rows"][0], rising["rows"][0]) == (["wanet", "average"], ["badnets", "ties"])
    clean = [["none", method] for method in ("ties", "ties", "average", "average")] * 4
    assert sorted(rising["rows"][-16:]) == sorted(clean), "rows without a value come last"
    assert [len(look["rows"]) for look in filtered] == [16, 8, 4, 2, 1]
    assert filtered[-1]["rows"] == [["wanet", "average"]]
    address = filtered[-1]["address"]
    assert "defense=awm&suite=two&text=WEIGHT+0.3" in address
    [linked] = seen(chromium, swept, tmp_path, address=address)
    assert linked == filtered[-1]


@pytest.mark.slow
def test_axes_defenses_and_a_gallery_are_shown_by_night_and_in_a_narrow_window(
    swept: Path, chromium: Browser
) -> None:
    grounds = []
    for dark in (False, True):
        opened = chromium.open(swept, width=600, dark=dark)
        assert opened.console == ()
        assert opened.requests == ()
        assert opened.dom.count("<img") == 4
        with Image.open(opened.screenshot) as picture:
            grounds.append(sum(picture.convert("RGB").getpixel((1, 1))))
    by_day, by_night = grounds
    assert by_day > 700
    assert by_night < 150


@pytest.mark.slow
def test_it_is_printed_without_a_word(swept: Path, chromium: Browser) -> None:
    pdf, console = chromium.print(swept)
    assert console == ()
    assert pdf.read_bytes().startswith(b"%PDF")


def test_the_title_names_a_few_suites_and_counts_many() -> None:
    assert _title(["A", "B"]) == "A, B"
    assert _title(list("ABCD")) == "4 suites"
