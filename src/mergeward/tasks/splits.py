"""Cuts the three development splits out of a source that has only train and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergeward.errors import DataError
from mergeward.seeding import numpy_generator
from mergeward.tasks.task import Labels


@dataclass(frozen=True)
class Cut:
    """Index arrays into the source's training images: disjoint, sorted, together complete."""

    train: Labels
    adapt: Labels
    validation: Labels


def cut_development(
    labels: Labels,
    *,
    name: str,
    seed: int,
    groups: Labels | None = None,
    adapt_share: float = 0.15,
    validation_share: float = 0.1,
) -> Cut:
    """Cut adapt and validation images out of the training images.

    Args:
        labels: int64 `[N]`, the labels of the source's training images.
        name: The task's name; with `seed` it decides the cut.
        seed: Seed of the cut.
        groups: int64 `[N]` or None. Images of one group (crops of one photo, frames of one sign) stay
            together.
        adapt_share: Share of the groups that becomes `adapt`.
        validation_share: Share of the groups that becomes `validation`.

    Raises:
        DataError: Too few images (or groups) to give each split at least one.
    """
    units = np.arange(len(labels)) if groups is None else groups
    unique = np.unique(units)
    adapt = max(1, round(len(unique) * adapt_share))
    validation = max(1, round(len(unique) * validation_share))
    if adapt + validation >= len(unique):
        raise DataError(f"task {name!r}: {len(unique)} training images or groups are too few to split")
    order = numpy_generator(seed, "splits", name).permutation(unique)

    def members(chosen: Labels) -> Labels:
        return np.flatnonzero(np.isin(units, chosen))

    return Cut(
        train=members(order[adapt + validation :]),
        adapt=members(order[:adapt]),
        validation=members(order[adapt : adapt + validation]),
    )
