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
