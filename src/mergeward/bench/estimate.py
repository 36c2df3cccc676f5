"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from mergeward.evaluate import Rate

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


def over_seeds(rates: Sequence[Rate]) -> Estimate:
    """Return the mean of one rate a seed.

    The interval is Student's t over the seeds, cut to [0, 1]: it speaks of other splits, contributions and
    merges. One seed tells nothing of those; its interval is Wilson's and speaks of other test images only.

    Args:
        rates: At least one.

    Example:
        >>> over_seeds([Rate(8, 10), Rate(9, 10), Rate(10, 10)]).mean
        0.9
    """
    if len(rates) == 1:
        return Estimate(rates[0].value, *rates[0].interval, 1)
    return mean_over_seeds([rate.value for rate in rates])


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean of one value between 0 and 1 a seed, with the interval of Student's t, cut to [0, 1].

    One value has no interval: its ends are NaN.
    """
    mean = fmean(values)
    if len(values) == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    half = _quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), len(values))


def _quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond the table by the first terms of its normal expansion."""
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom)
