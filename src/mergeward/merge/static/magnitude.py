"""Exact order statistics of magnitudes that are too many to hold in memory.

The magnitude of a float32 is ordered as the whole number that its bits spell (sign bit cleared). Two passes
find any order statistic exactly: one counts the upper 16 bits, which names the bucket that holds it; one
counts the lower 16 bits within that bucket. The state is 64 Ki counts, whatever the number of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mergeward.merge.static.problem import Part, StaticProblem

UPPER_BUCKETS = 1 << 15
LOWER_BUCKETS = 1 << 16


def kth_magnitudes(problem: StaticProblem, ranks: Mapping[int, int]) -> dict[int, float]:
    """Return the k-th smallest magnitude of task vectors over the whole scope, exactly.

    Args:
        problem: The base, its contributions and the scope.
        ranks: k by contribution, counted from 1, as in `torch.kthvalue`.

    Returns:
        The magnitude by contribution. It costs two passes over those task vectors.
    """
    if not ranks:
        return {}

    def count_upper(part: Part) -> list[Tensor]:
        base = part.base()
        return [upper_counts(part.task_vector(index, base)) for index in ranks]

    uppers = _summed(problem.map(count_upper, "ranking magnitudes, coarse"))
    found = {
        index: bucket_of(counts, rank) for (index, rank), counts in zip(ranks.items(), uppers, strict=True)
    }

    def count_lower(part: Part) -> list[Tensor]:
        base = part.base()
        return [lower_counts(part.task_vector(index, base), bucket) for index, (bucket, _) in found.items()]

    lowers = _summed(problem.map(count_lower, "ranking magnitudes, fine"))
    return {
        index: magnitude(bucket, bucket_of(counts, rank)[0])
        for (index, (bucket, rank)), counts in zip(found.items(), lowers, strict=True)
    }


def upper_counts(values: Tensor) -> Tensor:
    """Return how many `values` (float32, finite) have each upper half of their magnitude's bits."""
    return torch.bincount(_magnitude_bits(values) >> 16, minlength=UPPER_BUCKETS)


def lower_counts(values: Tensor, bucket: int) -> Tensor:
    """Return how many `values` whose upper half is `bucket` have each lower half."""
    bits = _magnitude_bits(values)
    return torch.bincount(bits[(bits >> 16) == bucket] & 0xFFFF, minlength=LOWER_BUCKETS)


def bucket_of(counts: Tensor, rank: int) -> tuple[int, int]:
    """Return the bucket that holds the value of `rank`, and its rank within that bucket."""
    cumulative = counts.cumsum(0)
    bucket = int(torch.searchsorted(cumulative, rank))
    before = int(cumulative[bucket - 1]) if bucket else 0
    return bucket, rank - before


def magnitude(upper: int, lower: int) -> float:
    """Return the float32 whose bits are these two halves."""
    return float(torch.tensor([(upper << 16) | lower], dtype=torch.int32).view(torch.float32).item())


def _magnitude_bits(values: Tensor) -> Tensor:
    return values.reshape(-1).abs().view(torch.int32)


def _summed(counts: Iterable[list[Tensor]]) -> list[Tensor]:
    totals: list[Tensor] = []
    for part in counts:
        totals = [total.add_(count) for total, count in zip(totals, part, strict=True)] if totals else part
    return totals
