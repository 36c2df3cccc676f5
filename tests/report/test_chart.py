from __future__ import annotations

import pytest

from mergeward.bench.results import Results
from mergeward.report import chart


def test_the_axis_runs_from_nothing_to_all() -> None:
    assert chart.ticks()[0] == (chart.PLOT_LEFT, "0")
    assert chart.ticks()[-1] == (chart.PLOT_RIGHT, "100")


def test_one_chart_for_each_attack_with_accuracy_and_success(results: Results) -> None:
    charts = chart.charts(results)
    assert [entry.title for entry in charts] == ["BadNets", "BadMerging on-task"]
    assert [[panel.kind for panel in entry.panels] for entry in charts] == [["accuracy", "success"]] * 2


def test_marks_stand_where_the_numbers_are(results: Results) -> None:
    success = chart.charts(results)[1].panels[1]
    row = next(row for row in results.rows if (row.attack, row.method) == ("badmerging-on", "ties"))
    dot = success.dots[2]
    width = chart.PLOT_RIGHT - chart.PLOT_LEFT
    assert (dot.name, dot.text) == ("TIES", "84.5")
    assert dot.x == pytest.approx(chart.PLOT_LEFT + row.asr * width, abs=0.05)
    assert dot.control_x == pytest.approx(chart.PLOT_LEFT + 0.1063 * width, abs=0.05)
    assert dot.low_x is not None
    assert dot.high_x is not None
    assert dot.low_x < dot.x < dot.high_x


def test_marks_stay_inside_and_do_not_share_a_line(results: Results) -> None:
    for entry in chart.charts(results):
        for panel in entry.panels:
            heights = [dot.y for dot in panel.dots]
            assert heights == sorted(set(heights))
            assert heights[0] > chart.TOP
            assert heights[-1] < panel.height - chart.AXIS_HEIGHT
            assert all(dot.text in panel.description for dot in panel.dots)
