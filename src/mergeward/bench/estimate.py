"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from mergeward.evaluate import Rate
from mergeward.evaluate.rate import Z_95

T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
        seeds: How many seeds there are.
    """

    mean: float
    low: float
    high: float
    seeds: int


def estimate(seeds: Sequence[Sequence[Rate]]) -> Estimate:
    """Return the mean over seeds of the mean of each seed's rates.

    The interval is Student's t over the seeds, cut to [0, 1]: it speaks of other splits, contributions and
    merges. One seed tells nothing of those; its interval speaks of other test images only, Wilson's for a
    single rate, and combined from those for the mean of several. Seeds that happen to agree tell no
    more of other images than one of them does: the interval is never narrower than theirs in the mean.

    Args:
        seeds: The rates of each seed: one, or one for each task or attacker. At least one each.

    Example:
        >>> estimate([[Rate(8, 10)], [Rate(9, 10)], [Rate(10, 10)]]).mean
        0.9
    """
    values = [fmean(rate.value for rate in rates) for rates in seeds]
    mean = fmean(values)
    low, high = (fmean(ends) for ends in zip(*map(_of_images, seeds), strict=True))
    if len(values) > 1:
        half = _quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
        low, high = min(low, mean - half), max(high, mean + half)
    return Estimate(mean, max(0.0, low), min(1.0, high), len(values))


def _of_images(rates: Sequence[Rate]) -> tuple[float, float]:
    """Return the interval of one seed's mean, which speaks of other test images only.

    The distances of Wilson's limits from the single rates add up as independent errors do (the method of
    variance estimates recovery, Zou and Donner, Statistics in Medicine 2008): a mean of rates that are all 0
    or 1 has an interval, too.
    """
    mean = fmean(rate.value for rate in rates)
    below, above = (
        math.hypot(*(rate.value - rate.interval[end] for rate in rates)) / len(rates) for end in (0, 1)
    )
    return mean - below, mean + above


def _quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond the table by the first terms of its normal expansion."""
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    return Z_95 + (Z_95**3 + Z_95) / (4 * freedom)
