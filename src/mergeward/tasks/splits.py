"""Makes the four disjoint splits from what a source has: train, and perhaps validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mergeward.errors import DataError
from mergeward.images import SourceImages
from mergeward.seeding import numpy_generator
from mergeward.tasks.task import Labels, Split, SplitName

ADAPT_SHARE = 0.15
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Part:
    """Labelled images of one part of a source, as its makers divided it.

    Attributes:
        images: `N` images.
        labels: int64 `[N]`.
        groups: int64 `[N]` or None. Images of one group (crops of one photo, frames of one sign) stay
            together wherever this part is cut.
    """

    images: SourceImages
    labels: Labels
    groups: Labels | None = None

    def select(self, rows: Labels) -> Part:
        """Return some of the rows."""
        groups = None if self.groups is None else self.groups[rows]
        return Part(self.images.select(rows), self.labels[rows], groups)

    def without(self, other: Part) -> Part:
        """Return the rows whose image is not also in `other`."""
        known = set(other.images.digests())
        kept = [row for row, digest in enumerate(self.images.digests()) if digest not in known]
        return self if len(kept) == len(self.labels) else self.select(np.array(kept, dtype=np.int64))

    def as_split(self) -> Split:
        """Return the images and labels as a split."""
        return Split(self.images, self.labels)


def make_splits(
    train: Part,
    validation: Part | None = None,
    test: Part | None = None,
    *,
    name: str,
    class_names: Sequence[str],
    seed: int,
) -> dict[SplitName, Split]:
    """Make the four splits of a task; what the source does not have is cut from its training images.

    No image is in two splits. An image that the source has in several of its parts is kept where it serves
    measurement: in test before validation, in validation before train.

    Args:
        train: The source's training images.
        validation: Its validation images; None to cut a tenth of the training images.
        test: Its test images; None to cut a fifth of each class's training images.
        name: The task's name; with `seed` it decides the cuts.
        class_names: In label order, for errors.
        seed: Seed of the cuts.

    Returns:
        The splits by name. `adapt` is always cut from train: 15 % of it.

    Raises:
        DataError: Too few images to give each split at least one.
    """
    if test is None:
        train, test = _cut_test(train, name, class_names, seed)
    train = train.without(test)
    if validation is not None:
        validation = validation.without(test)
        train = train.without(validation)
    cut = cut_development(
        _units(train), name=name, seed=seed, validation_share=VALIDATION_SHARE if validation is None else 0
    )
    chosen = train.select(cut.validation) if validation is None else validation
    splits: dict[SplitName, Split] = {
        "train": train.select(cut.train).as_split(),
        "adapt": train.select(cut.adapt).as_split(),
        "validation": chosen.as_split(),
        "test": test.as_split(),
    }
    for split, content in splits.items():
        if len(content) == 0:
            raise DataError(f"task {name!r}: no image for the {split} split that is in no other")
    return splits


@dataclass(frozen=True)
class Cut:
    """Index arrays into the source's training images: disjoint, sorted, together complete."""

    train: Labels
    adapt: Labels
    validation: Labels


def cut_development(
    units: Labels,
    *,
    name: str,
    seed: int,
    adapt_share: float = ADAPT_SHARE,
    validation_share: float = VALIDATION_SHARE,
) -> Cut:
    """Cut adapt and validation images out of the training images.

    Args:
        units: int64 `[N]`, the unit of each of the source's training images; a unit stays together.
        name: The task's name; with `seed` it decides the cut.
        seed: Seed of the cut.
        adapt_share: Share of the units that becomes `adapt`, at least one unit.
        validation_share: Share of the units that becomes `validation`, at least one; 0 for none.

    Raises:
        DataError: Too few units to give each split at least one.
    """
    unique = np.unique(units)
    adapt = max(1, round(len(unique) * adapt_share))
    validation = max(1, round(len(unique) * validation_share)) if validation_share else 0
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


def _cut_test(train: Part, name: str, class_names: Sequence[str], seed: int) -> tuple[Part, Part]:
    """Return what stays in train and what becomes test: a fifth of the units of each class, at least one."""
    units = _units(train)
    unique, first = np.unique(units, return_index=True)
    random = numpy_generator(seed, "splits", name, "test")
    chosen = []
    for label in np.unique(train.labels[first]):
        own = unique[train.labels[first] == label]
        if len(own) < 2:
            raise DataError(
                f"task {name!r}: class {class_names[label]!r} has one image or group; "
                "expected several, or test images of its own"
            )
        chosen.append(random.permutation(own)[: max(1, round(len(own) * TEST_SHARE))])
    held_out = np.isin(units, np.concatenate(chosen))
    return train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))


def _units(part: Part) -> Labels:
    """Return the unit of each image: images of one group, and equal images, are of one unit."""
    units = np.arange(len(part.labels)) if part.groups is None else part.groups
    content = np.unique(np.array(part.images.digests()), return_inverse=True)[1]
    while True:
        # An equal image may join two groups, and these others: repeat until nothing joins any more.
        joined = _lowest(_lowest(units, content), np.unique(units, return_inverse=True)[1])
        if np.array_equal(joined, units):
            return units
        units = joined


def _lowest(values: Labels, groups: Labels) -> Labels:
    """Return for each row the lowest value among the rows of its group; `groups` counts from 0."""
    lowest = np.full(groups.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, groups, values)
    return lowest[groups]
