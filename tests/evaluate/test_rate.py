"""The Wilson score interval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeward.evaluate import Difference, Rate


# Newcombe, Statistics in Medicine 17 (1998), Table I, method 3; and the closed form at 0 and n.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_known_values(successes: int, trials: int, low: float, high: float) -> None:
    rate = Rate(successes, trials)
    assert rate.value == successes / trials
    assert rate.interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_it_holds_the_share_within_zero_and_one(counts: tuple[int, int]) -> None:
    rate, mirrored = Rate(*counts), Rate(counts[1] - counts[0], counts[1])
    low, high = rate.interval
    assert 0 <= low <= rate.value <= high <= 1
    assert mirrored.interval == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(st.integers(1, 200), st.integers(2, 5))
def test_more_trials_of_the_same_share_narrow_it(trials: int, factor: int) -> None:
    narrow, wide = (Rate(trials * k // 2, trials * k) for k in (2 * factor, 2))
    assert narrow.interval[1] - narrow.interval[0] < wide.interval[1] - wide.interval[0]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_its_ends_are_the_shares_that_the_score_test_just_does_not_reject(counts: tuple[int, int]) -> None:
    rate = Rate(*counts)
    for end in rate.interval:
        if 0 < end < 1:
            score = (rate.value - end) / math.sqrt(end * (1 - end) / rate.trials)
            assert abs(score) == pytest.approx(1.959963984540054, rel=1e-6)


# Newcombe, Statistics in Medicine 17 (1998), 873-890, Table II, method 10.
@pytest.mark.parametrize(
    ("rate", "control", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_differences_of_known_value(
    rate: tuple[int, int], control: tuple[int, int], low: float, high: float
) -> None:
    difference = Difference(Rate(*rate), Rate(*control))
    assert difference.value == rate[0] / rate[1] - control[0] / control[1]
    assert difference.interval == pytest.approx((low, high), abs=5e-5)
    mirrored = Difference(Rate(*control), Rate(*rate)).interval
    assert mirrored == pytest.approx((-high, -low), abs=5e-5)
