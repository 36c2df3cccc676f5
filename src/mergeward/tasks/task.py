"""A task: labelled images under class names, in four disjoint splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from mergeward.errors import DataError, unknown_name
from mergeward.images import Images

SplitName = Literal["train", "adapt", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "adapt", "validation", "test")

DEFAULT_TEMPLATES = ("a photo of a {}.", "an image of {}.", "{}")

LONGEST_NAME = 4096
"""Characters of the longest name of a task or a class."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Attributes:
        images: `N` images.
        labels: int64 `[N]`, indices into the task's class names.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """Labelled images in four disjoint splits.

    Attributes:
        name: Short name, as used in recipes and tables.
        class_names: One name a class, in words, in label order.
        splits: `train` (fine-tuning), `adapt` (unlabelled use by the one who merges), `validation` (choosing
            settings) and `test` (reported figures only). No image is in two of them.
        templates: Sentences with one `{}` for the class name; the zero-shot head averages over them.
        summary: What the images show.
        licence: Licence of the images.

    Raises:
        DataError: Its name or that of a class is not text on one line.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[SplitName, Split] = field(repr=False)
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    summary: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not is_line(self.name):
            raise DataError(f"task {self.name[:80]!r}: its name must be text on one line")
        _check_lines(self.class_names, where=f"task {self.name!r}")

    def split(self, name: str) -> Split:
        """Return a split by name; `UsageError` when there is none of that name."""
        for known in SPLIT_NAMES:
            if known == name:
                return self.splits[known]
        raise unknown_name("split", name, SPLIT_NAMES)

    def class_index(self, target: str | int) -> int:
        """Return the label of a class given by name, else by number; `UsageError` when there is none."""
        if target in self.class_names:
            return self.class_names.index(str(target))
        is_number = isinstance(target, int) or target.isdecimal()
        if is_number and 0 <= int(target) < len(self.class_names):
            return int(target)
        raise unknown_name(f"class of task {self.name!r}", str(target), self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, labels and images: two tasks with the same fingerprint are the same task."""
        digest = hashlib.sha256(repr((self.class_names, self.templates)).encode())
        for name in SPLIT_NAMES:
            digest.update(self.splits[name].labels.tobytes())
            digest.update(self.splits[name].images.fingerprint().encode())
        return digest.hexdigest()


def checked_class_names(names: Iterable[str], *, where: object) -> tuple[str, ...]:
    """Return class names as a tuple.

    Args:
        names: In label order.
        where: The file or folder they are from, for the error.

    Raises:
        DataError: Fewer than two, an empty one, one that is not text on one line, or the same one twice.
    """
    checked = tuple(names)
    if len(checked) < 2:
        raise DataError(f"{where}: {len(checked)} class; a task needs at least two")
    if not all(name.strip() for name in checked):
        raise DataError(f"{where}: a class without a name")
    for place, name in enumerate(checked):
        if name in checked[:place]:
            raise DataError(f"{where}: class name {name!r} twice")
    _check_lines(checked, where=where)
    return checked


def is_line(text: object) -> bool:
    """Return whether something is text on one line: names are shown on terminals, and may be hostile."""
    return isinstance(text, str) and len(text) <= LONGEST_NAME and text.isprintable()


def _check_lines(names: Iterable[str], *, where: object) -> None:
    for name in names:
        if not is_line(name):
            raise DataError(
                f"{where}: class name {name[:80]!r} must be text on one line, all of it printable"
            )


def chance_accuracy(labels: Sequence[int] | Labels) -> float:
    """Return the accuracy of always answering the most frequent class."""
    return float(np.bincount(np.asarray(labels)).max() / len(labels))
