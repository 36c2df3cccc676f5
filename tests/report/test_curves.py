"""The curves over a suite's axes: which there are, and where their marks lie."""

from __future__ import annotations

import pytest

from invented_run import a_line
from mergeward.bench.summary import Line
from mergeward.report.curves import across, curves, up


def weighted(weight: float, success: float) -> Line:
    return a_line("attacked merge", {"method.weight": weight}, success)


def test_marks_lie_in_proportion_to_what_is_swept_and_in_order() -> None:
    success, accuracy = curves([weighted(1.0, 0.9), weighted(0.0, 0.2), weighted(0.25, 0.4)])
    assert (success.measure, success.axis, accuracy.measure) == ("attack success", "weight", "accuracy")
    attacked, control = success.curves
    assert [(mark.at, mark.place, mark.rate.mean) for mark in attacked.marks] == [
        (0.0, 0.0, 0.2),
        (0.25, 0.25, 0.4),
        (1.0, 1.0, 0.9),
    ]
    assert control.is_control
    assert {mark.rate.mean for mark in control.marks} == {0.1}


def test_the_accuracy_of_the_clean_merge_is_that_at_the_same_value() -> None:
    clean = a_line("clean merge", {"method.weight": 0.25}, 0.1)
    _, accuracy = curves([weighted(0.0, 0.2), weighted(0.25, 0.4), clean])
    by_control = {curve.is_control: [mark.at for mark in curve.marks] for curve in accuracy.curves}
    assert by_control == {False: [0.0, 0.25], True: [0.25]}


def test_a_clean_merge_that_knows_no_size_of_triggers_stands_beside_each() -> None:
    sizes = [a_line("attacked merge", {"attack.patch_size": size}, 0.5) for size in (2, 4)]
    _, accuracy = curves([*sizes, a_line("clean merge", {}, None)])
    control = next(curve for curve in accuracy.curves if curve.is_control)
    assert [mark.at for mark in control.marks] == [2, 4]


def test_other_axes_part_the_plots() -> None:
    lines = [
        a_line("attacked merge", {"attack.references": r, "attack.shadow_classes": s}, 0.5)
        for r in (1, 5)
        for s in (30, 300)
    ]
    titles = [(plot.title, plot.axis) for plot in curves(lines) if plot.measure == "accuracy"]
    assert titles == [
        ("BadNets, shadow_classes 30", "references"),
        ("BadNets, shadow_classes 300", "references"),
        ("BadNets, references 1", "shadow classes"),
        ("BadNets, references 5", "shadow classes"),
    ]


@pytest.mark.parametrize("axis", ["attacker.target_class", "attacker.target_task", "attacker.task"])
def test_between_classes_or_tasks_there_is_no_curve(axis: str) -> None:
    assert curves([a_line("attacked merge", {axis: place}, 0.5) for place in (0, 1)]) == ()


@pytest.mark.parametrize(
    "lines", [[], [weighted(0.3, 0.5)], [a_line("attacked merge", {"method.variant": "paper"}, 0.5)]]
)
def test_one_value_or_words_make_no_curve(lines: list[Line]) -> None:
    assert curves(lines) == ()


def test_positions_span_the_plot_and_rise() -> None:
    assert across(0.0) < across(0.5) < across(1.0)
    assert up(1.0) < up(0.5) < up(0.0)  # SVG counts downwards
