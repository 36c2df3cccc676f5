"""A share of successes with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Rate:
    """Successes among trials.

    Attributes:
        successes: Number of successes.
        trials: Number of trials, at least one.
    """

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The share of successes, between 0 and 1."""
        return self.successes / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval (E. B. Wilson, JASA 22, 1927), within [0, 1]."""
        share, trials = self.value, self.trials
        centre = (share + Z_95**2 / (2 * trials)) / (1 + Z_95**2 / trials)
        spread = math.sqrt(share * (1 - share) / trials + Z_95**2 / (4 * trials**2))
        half = Z_95 / (1 + Z_95**2 / trials) * spread
        # It holds the share; rounding may say otherwise at 0 and 1.
        return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


@dataclass(frozen=True)
class Difference:
    """How much larger one rate is than another.

    Attributes:
        rate: The one.
        control: The other.
    """

    rate: Rate
    control: Rate

    @property
    def value(self) -> float:
        """The rate less its control, between -1 and 1."""
        return self.rate.value - self.control.value

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval from both Wilson intervals (Newcombe, Statistics in Medicine 17, 1998, method 10).

        It takes the two for independent. For two models on the same images it is rather too wide.
        """
        (low, high), (control_low, control_high) = self.rate.interval, self.control.interval
        below = math.hypot(self.rate.value - low, control_high - self.control.value)
        above = math.hypot(high - self.rate.value, self.control.value - control_low)
        return self.value - below, self.value + above
