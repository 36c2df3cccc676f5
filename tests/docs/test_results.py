"""The README and its picture show the measured results, and nothing where none were measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import draw_results
import matrix
import pytest
import write_results

from invented_run import a_line
from mergeward.bench import Controls, Results, Row
from mergeward.bench.results import Control
from mergeward.bench.summary import Line
from mergeward.report import chart

SVG = "{http://www.w3.org/2000/svg}"


def invented() -> Results:
    """Two attacks, two methods; every rate is another."""
    rates = {"average": (0.11, 0.62), "ties": (0.33, 0.94)}
    clean = {
        method: Control(0.81, {"a": 0.81}, {name: _success(0.05 + low / 10) for name in ("badnets", "mine")})
        for method, (low, _) in rates.items()
    }
    rows = [
        Row(attack, method, 0.8, 0.9, {"a": 0.8}, "a", **_success(rates[method][index]), seconds=1.0)
        for index, attack in enumerate(("badnets", "mine"))
        for method in rates
    ]
    controls = Controls(clean["average"], {"a": 0.9}, {}, clean, clean)
    return Results(tuple(rows), controls, {"seed": "0", "tasks": "a"})


def _success(rate: float) -> dict[str, float]:
    return {"asr": rate, "asr_low": rate - 0.03, "asr_high": rate + 0.04}


def a_run() -> list[Line]:
    """Two attacks, two methods, and their controls."""
    merges = [
        a_line(kind, {}, success, attack=attack, method=method)
        for method, attacked in (("average", 0.1), ("ties", 0.6))
        for attack in draw_results.SHOWN
        for kind, success in (("clean merge", 0.1), ("attacked merge", attacked))
    ]
    alone = [a_line("attacker alone", {}, 1.0, attack=attack) for attack in draw_results.SHOWN]
    return [a_line("base", {}, 0.1), *alone, *merges]


def test_the_readme_shows_what_was_measured() -> None:
    readme = draw_results.README.read_text(encoding="utf-8")
    assert readme == draw_results.updated(readme, draw_results.measured()), "run: python docs/draw_results.py"


def test_the_picture_shows_what_was_measured() -> None:
    drawn = draw_results.PICTURE.read_text(encoding="utf-8")
    assert drawn == draw_results.picture(draw_results.headline_results(draw_results.measured())), (
        "run: python docs/draw_results.py"
    )


def test_every_page_is_what_its_run_makes(tmp_path: Path) -> None:
    copy = shutil.copytree(write_results.FOLDER, tmp_path / "results")
    write_results.write(copy)
    for made in sorted([*copy.glob("*.md"), *copy.glob("*.svg"), *copy.glob("*.html")]):
        there = (write_results.FOLDER / made.name).read_text(encoding="utf-8")
        assert made.read_text(encoding="utf-8") == there, f"{made.name}; run: python docs/write_results.py"


def test_results_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(invented().to_json()), encoding="utf-8")
    assert draw_results.load(path) == invented()


def test_the_section_stands_between_the_comments_and_replaces_an_older_one() -> None:
    empty = f"before\n{draw_results.BEGIN}\n{draw_results.END}\nafter\n"
    first = draw_results.updated(empty, a_run())
    assert "| BadNets | 10.0 | 10.0 (10.0) | 60.0 (10.0) |" in first
    assert "keeps 60\N{NO-BREAK SPACE}% under TIES" in first
    assert "| none (all clean) | 50.0 | 50.0 | 50.0 |\n| BadNets |  | 50.0 | 50.0 |" in first
    assert draw_results.updated(first, a_run()) == first


def test_rows_of_one_attack_follow_each_other_over_what_is_swept() -> None:
    lines = [
        a_line("attacked merge", {"tasks": count}, 0.5, attack=attack)
        for count in (2, 3)
        for attack in ("badnets", "wanet")
    ]
    rows = matrix.table(lines, "success").splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| BadNets, tasks 2",
        "| BadNets, tasks 3",
        "| WaNet, tasks 2",
        "| WaNet, tasks 3",
    ]
    assert rows[0] == "| BadNets, tasks 2 | 50.0 [50.0–50.0] (10.0) |"


def test_a_method_without_its_control_is_no_result() -> None:
    lines = [line for line in a_run() if (line.kind, line.method) != ("clean merge", "ties")]
    with pytest.raises(KeyError, match="ties"):
        draw_results.section(lines)


def test_a_readme_without_the_comments_is_refused() -> None:
    with pytest.raises(ValueError, match="expected <!-- results"):
        draw_results.updated("no comments here", a_run())


def test_the_picture_has_a_dot_for_every_merge_and_stays_inside() -> None:
    root = ET.fromstring(draw_results.picture(invented()))
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    panels = [element for element in root.iter(f"{SVG}svg") if "x" in element.attrib]
    assert len(panels) == 4
    for panel in panels:
        x, y, wide, high = (float(panel.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
    success = [panel for panel in panels if "success" in panel.attrib["class"]]
    dots = [
        float(circle.attrib["cx"])
        for panel in success
        for circle in panel.iter(f"{SVG}circle")
        if circle.attrib["class"] == "measured"
    ]
    assert dots == [chart.position(row.asr) for row in invented().rows]
    assert {"BadNets", "mine"} <= {text.text for text in root.iter(f"{SVG}text")}
