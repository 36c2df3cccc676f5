from __future__ import annotations

import pytest

from mergeward.report.words import enumeration, label, percent, points, whole_percent


@pytest.mark.parametrize(("rate", "text"), [(0.9104, "91.0"), (0.0, "0.0"), (1.0, "100.0"), (0.00049, "0.0")])
def test_percent_has_one_decimal(rate: float, text: str) -> None:
    assert percent(rate) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.788, "+78.8"), (-0.0123, "−1.2"), (0.0, "0.0"), (-0.0001, "0.0"), (0.0004, "0.0")],
)
def test_points_carry_their_sign_unless_they_are_nothing(difference: float, text: str) -> None:
    assert points(difference) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.913, "91"), (1.0, "100"), (0.9966, "99.7"), (0.0, "0"), (0.004, "0.4"), (0.994, "99")],
)
def test_running_text_does_not_round_to_all_or_nothing(rate: float, text: str) -> None:
    assert whole_percent(rate) == f"{text}\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(
    ("parts", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_enumeration(parts: list[str], text: str) -> None:
    assert enumeration(parts) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("ties", "TIES"), ("badmerging-on", "BadMerging on-task"), ("some_new_method", "some new method")],
)
def test_names_that_nobody_spelled_out_are_readable_too(name: str, text: str) -> None:
    assert label(name) == text
