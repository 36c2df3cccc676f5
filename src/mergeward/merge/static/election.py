"""The election of TIES: a sign for each coordinate, and what comes of the values that agree with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["sum", "mean", "max"]


@dataclass(frozen=True)
class Votes:
    """One block of every contribution, as it votes and as it counts.

    Attributes:
        ballots: What each contribution casts, float32.
        factors: What a contribution's ballot is multiplied by where it agrees.
        shares: What a contribution counts in the divisor of "mean" where it agrees.
        unit: What ballots and shares are in units of.
    """

    ballots: Sequence[Tensor]
    factors: Sequence[float]
    shares: Sequence[float]
    unit: float = 1.0

    def mass(self) -> Tensor:
        """Return the sum of the ballots, float64: free of rounding in all but name, in any order."""
        total = torch.zeros_like(self.ballots[0], dtype=torch.float64)
        for ballot in self.ballots:
            total.add_(ballot)
        return total

    def agreeing(self, signs: Tensor) -> Iterator[Tensor]:
        """Yield the magnitudes of each contribution's ballots, zero where their sign is not the elected one.

        Args:
            signs: The elected signs, 1 or -1, float32.
        """
        return (torch.mul(ballot, signs).relu_() for ballot in self.ballots)

    def aggregated(self, signs: Tensor, how: Aggregation) -> Tensor:
        """Return what the ballots of the elected sign come to, zero where there are none.

        Args:
            signs: The elected signs, 1 or -1, float32.
            how: "sum", "mean" or "max" of the ballots that agree: the paper's disjoint merge and its
                variants.
        """
        total = torch.zeros_like(signs)
        divisor = torch.zeros_like(signs)
        for agreeing, factor, share in zip(self.agreeing(signs), self.factors, self.shares, strict=True):
            if how == "mean":
                divisor.add_(agreeing.sign().mul_(share))
            if factor != 1:
                agreeing.mul_(factor)
            if how == "max":
                torch.maximum(total, agreeing, out=total)
            else:
                total.add_(agreeing)
        if how == "mean":
            # Where no share agrees there is nothing to divide.
            return total.div_(divisor.clamp_(min=torch.finfo(torch.float32).tiny)).mul_(signs)
        return total.mul_(signs).mul_(self.unit)


def weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Votes:
    """Return votes in which each contribution casts its values times its weight.

    Ballots are in units of the largest weight: equal weights then cancel exactly where the values do.

    Args:
        values: One block of each contribution, float32; overwritten.
        weights: One for each contribution; none negative for the mean.
    """
    unit = max(map(abs, weights)) or 1.0
    ballots = [
        block if weight == unit else block.mul_(weight / unit)
        for block, weight in zip(values, weights, strict=True)
    ]
    return Votes(ballots, [1.0] * len(ballots), [weight / unit for weight in weights], unit)


def unweighted(values: Sequence[Tensor], weights: Sequence[float]) -> Votes:
    """Return votes in which each contribution casts its values, and its weight is applied afterwards."""
    return Votes(values, list(weights), [1.0] * len(values))


def elected(mass: Tensor, zero: float = 1.0) -> Tensor:
    """Return the sign of each coordinate's sum, 1 or -1, float32.

    Args:
        mass: The sums, float64.
        zero: The sign of a sum that is zero.
    """
    # A sum of numbers is never -0.0 unless all are, and it starts with 0.0.
    signs = torch.copysign(torch.ones_like(mass), mass).to(torch.float32)
    return signs if zero > 0 else signs.masked_fill_(mass.eq(0), zero)
