"""The curve over alpha: its table, its picture and its figures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
import torch
from rich.console import Console

from mergeward.attack import PatchTrigger, SavedTrigger
from mergeward.evaluate import Rate
from mergeward.report import tradeoff_svg, tradeoff_table
from mergeward.vision import Preprocessor
from mergeward.workflow.curve import Measured, Point, Tradeoff

SVG = "{http://www.w3.org/2000/svg}"
PATCH = PatchTrigger(torch.zeros(3, 4, 4), torch.ones(1, 4, 4))
TRIGGER = SavedTrigger(PATCH, "bad<nets", "cold", "red", Preprocessor(resize=4, crop=(4, 4)))


def measured(right: int, fooled: int) -> Measured:
    return Measured({"warm": Rate(right, 100), "cold": Rate(90, 100)}, Rate(fooled, 200))


def curve(*points: tuple[float, int, int], control: bool = True) -> Tradeoff:
    made = tuple(
        Point(alpha, measured(right, fooled), measured(95, 4) if control else None)
        for alpha, right, fooled in points
    )
    return Tradeoff("dam", TRIGGER, "validation", made, measured(40, 10))


def marks(svg: str, kind: str) -> list[tuple[float, float]]:
    circles = ET.fromstring(svg).iter(f"{SVG}circle")
    return [(float(one.get("cx")), float(one.get("cy"))) for one in circles if one.get("class") == kind]


def test_each_alpha_is_a_dot_further_left_for_less_success_and_higher_for_more_accuracy() -> None:
    svg = tradeoff_svg(curve((0.0, 92, 180), (0.1, 90, 100), (1.0, 70, 20)))
    dots = marks(svg, "merge")
    assert len(dots) == len(marks(svg, "control")) == 3
    assert dots[0][0] > dots[1][0] > dots[2][0]
    assert dots[0][1] < dots[1][1] < dots[2][1]
    assert all(64 <= x <= 530 and 74 <= y <= 366 for x, y in dots + marks(svg, "control"))
    words = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert {"0", "0.1", "1"} <= set(words)


def test_the_curve_goes_by_alpha_whatever_the_order() -> None:
    shuffled = tradeoff_svg(curve((1.0, 70, 20), (0.0, 92, 180)))
    assert marks(shuffled, "merge") == marks(tradeoff_svg(curve((0.0, 92, 180), (1.0, 70, 20))), "merge")


@pytest.mark.parametrize("points", [[(0.0, 100, 200)], [(0.0, 0, 0)], [(0.0, 50, 100), (1.0, 50, 100)]])
def test_curves_of_any_form_are_drawn(points: list[tuple[float, int, int]]) -> None:
    svg = tradeoff_svg(curve(*points, control=False))
    assert len(marks(svg, "merge")) == len(points)
    assert not marks(svg, "control")


def test_the_table_has_rates_intervals_and_the_control() -> None:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(tradeoff_table(curve((0.1, 92, 180))))
    table = captured.get()
    for words in ("0.1", "91.0 [", "90.0 [", "92.5 [", "2.0 [", "base alone: 5.0"):
        assert words in table, words


def test_the_interval_of_the_mean_is_that_of_independent_tasks() -> None:
    low, high = measured(50, 0).mean_interval
    half = 1.959963984540054 * (0.25 / 100 + 0.09 / 100) ** 0.5 / 2
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half))
