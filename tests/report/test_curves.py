"""The curves over a suite's axes: which there are, and where their marks lie."""

from __future__ import annotations

import pytest

from invented_run import a_line
from mergeward.bench.summary import Line
from mergeward.report.curves import Curve, curves


def weighted(weight: float, success: float) -> Line:
    return a_line("attacked merge", {"method.weight": weight}, success)


def texts(curve: Curve) -> list[str]:
    return [mark.tick.text for mark in curve.marks]


def test_marks_lie_in_proportion_to_what_is_swept_and_in_order() -> None:
    success, accuracy = curves([weighted(1.0, 0.9), weighted(0.0, 0.2), weighted(0.25, 0.4)])
    assert (success.measure, success.axis, accuracy.measure) == ("attack success", "weight", "accuracy")
    attacked, control = success.curves
    assert [(mark.tick.text, mark.tick.place, mark.rate.mean) for mark in attacked.marks] == [
        ("0", 0.0, 0.2),
        ("0.25", 0.25, 0.4),
        ("1", 1.0, 0.9),
    ]
    assert control.is_control
    assert {mark.rate.mean for mark in control.marks} == {0.1}


def test_the_accuracy_of_the_clean_merge_is_that_at_the_same_value() -> None:
    clean = a_line("clean merge", {"method.weight": 0.25}, 0.1)
    _, accuracy = curves([weighted(0.0, 0.2), weighted(0.25, 0.4), clean])
    by_control = {curve.is_control: texts(curve) for curve in accuracy.curves}
    assert by_control == {False: ["0", "0.25"], True: ["0.25"]}


def test_a_clean_merge_that_knows_no_size_of_triggers_stands_beside_each() -> None:
    sizes = [a_line("attacked merge", {"attack.patch_size": size}, 0.5) for size in (2, 4)]
    _, accuracy = curves([*sizes, a_line("clean merge", {}, None)])
    control = next(curve for curve in accuracy.curves if curve.is_control)
    assert texts(control) == ["2", "4"]


def test_other_axes_part_the_plots() -> None:
    lines = [
        a_line("attacked merge", {"attack.references": r, "attack.shadow_classes": s}, 0.5)
        for r in (1, 5)
        for s in (30, 300)
    ]
    titles = [(plot.title, plot.axis) for plot in curves(lines) if plot.measure == "accuracy"]
    assert titles == [
        ("BadNets, shadow classes 30", "references"),
        ("BadNets, shadow classes 300", "references"),
        ("BadNets, references 1", "shadow classes"),
        ("BadNets, references 5", "shadow classes"),
    ]


def test_classes_stand_side_by_side_and_are_not_joined() -> None:
    success, _ = curves([a_line("attacked merge", {"attacker.target_class": at}, 0.5) for at in (0, 9)])
    assert not success.scale.is_continuous
    assert success.axis == "target class"
    assert [(tick.place, tick.text) for tick in success.scale.ticks] == [(0.25, "0"), (0.75, "9")]


@pytest.mark.parametrize("axis", ["attacker.target_task", "attacker.task"])
def test_tasks_go_by_their_names(axis: str) -> None:
    success, _ = curves([a_line("attacked merge", {axis: place}, 0.5) for place in (1, 0)])
    assert [tick.text for tick in success.scale.ticks] == ["cold", "warm"]


def test_merges_stand_beside_each_other_at_a_name_and_in_place_at_a_number() -> None:
    for axis, apart in (("attacker.target_class", True), ("method.weight", False)):
        lines = [
            a_line("attacked merge", {axis: at}, 0.5, method=method)
            for at in (0, 1)
            for method in ("ties", "average")
        ]
        plot, _ = curves(lines)
        places = {plot.place(curve, curve.marks[0]) for curve in plot.curves}
        assert (len(places) == 2) == apart


def test_long_names_are_crowded() -> None:
    for text, crowded in (("fashion_mnist", True), ("mnist", False)):
        lines = [a_line("attacked merge", {"method.on": f"{text}{place}"}, 0.5) for place in range(4)]
        assert curves(lines)[0].scale.is_crowded == crowded


def test_words_among_numbers_are_names_all() -> None:
    absent = ("none", 2, "2 3")
    success, _ = curves([a_line("attacked merge", {"absent": away}, 0.5) for away in absent])
    assert (success.axis, success.scale.is_continuous) == ("absent", False)
    assert texts(success.curves[0]) == ["none", "2", "2 3"]


def test_switches_are_no_numbers() -> None:
    lines = [a_line("attacked merge", {"attack.own_images": whether}, 0.5) for whether in (False, True)]
    success, _ = curves(lines)
    assert [tick.text for tick in success.scale.ticks] == ["False", "True"]


def test_how_many_tasks_there_are_is_said() -> None:
    success, _ = curves([a_line("attacked merge", {"tasks": count}, 0.5) for count in (2, 6)])
    assert success.axis == "number of tasks"


@pytest.mark.parametrize("lines", [[], [weighted(0.3, 0.5)]])
def test_one_value_has_no_plot(lines: list[Line]) -> None:
    assert curves(lines) == ()
