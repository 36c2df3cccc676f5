"""The charts of a run's page, as data for Plotly."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

import pytest

from invented_run import a_line
from mergeward.report.curves import curves
from mergeward.report.interactive import of_curves, of_scatter
from mergeward.report.scatter import scatter

PLOTLY = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
"""SHA-256 of the file in the npm package plotly.js-basic-dist-min 4.1.1."""


def test_plotly_is_the_published_file() -> None:
    content = resources.files("mergeward.report").joinpath("plotly-basic.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PLOTLY
    assert b"</script" not in content


def test_a_curve_has_its_means_intervals_and_words() -> None:
    plot, _ = curves([a_line("attacked merge", {"method.weight": at}, at) for at in (0.25, 0.75)])
    chart = of_curves(plot)
    figure = json.loads(chart.figure)
    attacked, control = figure["traces"]
    assert attacked["y"] == [25.0, 75.0]
    assert attacked["mode"] == "lines+markers"
    assert attacked["legendgroup"] == control["legendgroup"]
    assert (attacked["hollow"], control["hollow"]) == (False, True)
    mark = plot.curves[0].marks[1]
    assert attacked["error_y"]["array"][1] == pytest.approx(100 * (mark.rate.high - mark.rate.mean))
    assert attacked["error_y"]["arrayminus"][1] == pytest.approx(100 * (mark.rate.mean - mark.rate.low))
    assert "weight 0.75: 75.0 [" in attacked["customdata"][1]
    assert figure["layout"]["xaxis"]["ticktext"] == ["0.25", "0.75"]
    assert chart.title == f"{plot.title}: attack success, %"


def test_names_are_not_joined_by_lines() -> None:
    plot, _ = curves([a_line("attacked merge", {"attacker.target_class": at}, 0.5) for at in (0, 9)])
    assert {trace["mode"] for trace in json.loads(of_curves(plot).figure)["traces"]} == {"markers"}


def test_merges_are_numbered_as_in_the_list_below_and_the_front_is_drawn_for_one_winner() -> None:
    lines = [a_line("attacked merge", {}, success, method=name) for name, success in (("b", 0.5), ("a", 0.1))]
    [plot] = scatter(lines)
    figure = json.loads(of_scatter(plot).figure)
    front, merges = figure["traces"]
    assert merges["text"] == ["1", "2"]
    assert merges["x"] == [50.0, 10.0]
    assert front["x"] == [10.0, 10.0, 54.0]
    assert front["y"] == [48.0, 50.0, 50.0]
    assert figure["layout"]["xaxis"]["range"] == [6.0, 54.0]
    assert figure["layout"]["yaxis"]["range"] == [48.0, 52.0]


def test_what_comes_from_outside_is_no_markup() -> None:
    lines = [a_line("attacked merge", {"method.on": text}, 0.5, method="<b>") for text in ("<i>", "x")]
    for chart in (of_curves(curves(lines)[0]), of_scatter(scatter(lines)[0])):
        assert "&lt;b&gt;" in chart.figure
        assert "<" not in chart.figure.replace("<extra></extra>", "")
