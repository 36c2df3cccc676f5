"""The papers' figures beside those of a run."""

from __future__ import annotations

import pytest

from invented_run import a_line
from mergeward.attack import attacks
from mergeward.bench.estimate import Estimate
from mergeward.bench.suite import load_suite, suite_names
from mergeward.report.paper import Comparison, Figure, Paper, comparisons, papers

PAPER = papers()[0]


def test_every_figure_is_of_an_attack_and_a_merge_that_a_suite_has() -> None:
    suites = [load_suite(name) for name in suite_names()]
    merges = {entry.name for suite in suites for entry in suite.methods}
    defenses = {entry.name for suite in suites for entry in suite.defenses}
    for figure in (figure for paper in papers() for figure in paper.figures):
        assert figure.attack in {info.name for info in attacks()}
        assert figure.method in merges
        assert figure.defense in defenses | {"none"}
        assert figure.measure in {"success", "accuracy"}


def test_a_run_is_compared_where_it_has_the_figure() -> None:
    line = a_line("attacked merge", {}, 0.5, method="task_arithmetic")
    found = comparisons([line])
    assert {(one.figure.attack, one.figure.method) for one in found} == {("badnets", "task_arithmetic")}
    assert comparisons([a_line("attacked merge", {"method.weight": 0.3}, 0.5)]) == ()


@pytest.mark.parametrize(
    ("low", "mean", "high", "large"),
    [(0.5, 0.6, 0.7, True), (0.5, 0.6, 0.99, False), (0.9, 0.91, 0.92, False)],
)
def test_only_large_differences_beyond_the_interval_are_called_out(
    low: float, mean: float, high: float, large: bool
) -> None:
    figure = Figure(attack="badnets", method="ties", measure="success", percent=98)
    comparison = Comparison(PAPER, figure, Estimate(mean, low, high, 3), mean - figure.rate)
    assert comparison.is_large is large


def test_a_bound_is_kept_or_broken_by_what_is_above() -> None:
    below, above = (
        comparisons([a_line("attacked merge", {}, success, method="task_arithmetic")])[0]
        for success in (0.2, 0.5)
    )
    assert below.figure.at_most
    assert below.difference is None
    assert above.difference == pytest.approx(0.2)
    assert isinstance(below.paper, Paper)
