"""Exact order statistics of magnitudes that are too many to hold in memory.

The magnitude of a float32 is ordered as the whole number that its bits spell (sign bit cleared). Two passes
find any order statistic exactly: one counts the upper 16 bits, which names the bucket that holds it; one
counts the lower 16 bits within that bucket. The state is 64 Ki counts, whatever the number of values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

UPPER_BUCKETS = 1 << 15
LOWER_BUCKETS = 1 << 16
CHUNK = 1 << 22


class MagnitudeSelector:
    """Finds the k-th smallest magnitude of a stream of float32 values seen twice.

    Args:
        rank: k, counted from 1, as in `torch.kthvalue`.

    Example:
        >>> import torch
        >>> selector = MagnitudeSelector(rank=2)
        >>> values = torch.tensor([-3.0, 1.0, 2.0])
        >>> selector.count_upper(values)
        >>> selector.choose_bucket()
        >>> selector.count_lower(values)
        >>> selector.threshold()
        2.0
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._upper = torch.zeros(UPPER_BUCKETS, dtype=torch.int64)
        self._lower = torch.zeros(LOWER_BUCKETS, dtype=torch.int64)
        self._bucket = 0

    def count_upper(self, values: Tensor) -> None:
        """First pass: take note of `values` (float32, any shape, finite)."""
        for bits in _magnitude_bits(values):
            self._upper += torch.bincount(bits >> 16, minlength=UPPER_BUCKETS)

    def choose_bucket(self) -> None:
        """Between the passes: find the bucket that holds the wanted rank."""
        self._bucket, self._rank = _bucket_of(self._upper, self._rank)

    def count_lower(self, values: Tensor) -> None:
        """Second pass: take note of the same `values`."""
        for bits in _magnitude_bits(values):
            within = bits[(bits >> 16) == self._bucket]
            self._lower += torch.bincount(within & 0xFFFF, minlength=LOWER_BUCKETS)

    def threshold(self) -> float:
        """After both passes: return the k-th smallest magnitude, exactly."""
        lower, _ = _bucket_of(self._lower, self._rank)
        bits = torch.tensor([(self._bucket << 16) | lower], dtype=torch.int32)
        return float(bits.view(torch.float32).item())


def _magnitude_bits(values: Tensor) -> Iterator[Tensor]:
    """Yield the bits of the magnitudes as int32, a bounded number at a time."""
    flat = values.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield flat[start : start + CHUNK].abs().view(torch.int32)


def _bucket_of(counts: Tensor, rank: int) -> tuple[int, int]:
    """Return the bucket that holds the value of `rank`, and its rank within that bucket."""
    cumulative = counts.cumsum(0)
    bucket = int(torch.searchsorted(cumulative, rank))
    before = int(cumulative[bucket - 1]) if bucket else 0
    return bucket, rank - before
