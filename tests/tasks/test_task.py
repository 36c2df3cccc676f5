"""Names, classes and fingerprints of a task."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from images import noise
from mergeward.errors import DataError, UsageError
from mergeward.images import ArrayImages
from mergeward.tasks import SPLIT_NAMES, Split, Task, chance_accuracy
from mergeward.tasks.task import checked_class_names

CLASSES = ("seven", "8", "0")


def small_task(seed: int = 0, **changes: object) -> Task:
    splits = {
        name: Split(ArrayImages(noise(4, seed=10 * seed + place)), np.arange(4) % 3)
        for place, name in enumerate(SPLIT_NAMES)
    }
    return dataclasses.replace(Task("toy", CLASSES, splits), **changes)


@pytest.mark.parametrize(
    ("target", "label"), [("seven", 0), ("8", 1), ("0", 2), ("1", 1), (2, 2), (0, 0)], ids=str
)
def test_a_class_is_found_by_name_and_else_by_number(target: str | int, label: int) -> None:
    assert small_task().class_index(target) == label


@pytest.mark.parametrize("target", ["eight", "3", 3, -1, "", "Seven"], ids=repr)
def test_an_unknown_class_is_refused(target: str | int) -> None:
    with pytest.raises(UsageError, match="unknown class of task 'toy'"):
        small_task().class_index(target)


def test_a_class_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'seven'"):
        small_task().class_index("sevn")


def test_splits_are_found_by_name() -> None:
    task = small_task()
    assert all(task.split(name) is task.splits[name] for name in SPLIT_NAMES)
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        task.split("tset")


def test_the_fingerprint_is_of_content_and_not_of_the_name() -> None:
    assert small_task().fingerprint == small_task(name="other").fingerprint


def test_the_fingerprint_sees_every_part() -> None:
    task = small_task()
    moved = {**task.splits, "adapt": task.splits["test"], "test": task.splits["adapt"]}
    relabelled = {**task.splits, "test": Split(task.splits["test"].images, np.zeros(4, np.int64))}
    others = [
        small_task(seed=1),
        small_task(class_names=("7", "8", "0")),
        small_task(templates=("{}",)),
        small_task(splits=moved),
        small_task(splits=relabelled),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    assert chance_accuracy([0, 1, 1, 2]) == 0.5
    assert chance_accuracy(np.array([3, 3])) == 1.0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat",), "1 class; a task needs at least two"),
        ((), "0 class"),
        (("cat", " "), "a class without a name"),
        (("cat", "dog", "cat"), "class name 'cat' twice"),
    ],
)
def test_class_names_that_cannot_be_told_apart_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"^file: {message}"):
        checked_class_names(names, where="file")


@pytest.mark.parametrize("name", ["stop\u00a0sign", "stop\nsign", "\x1b[2J", "a\u2028b", 4097 * "a"])
def test_names_that_are_not_on_one_line_are_refused(name: str) -> None:
    shown = re.escape(repr(name[:80]))
    with pytest.raises(DataError, match=f"^file: class name {shown} must be text on one line"):
        checked_class_names(("cat", name), where="file")
    with pytest.raises(DataError, match=f"^task 'toy': class name {shown} must be text on one line"):
        small_task(name="toy", class_names=("cat", "dog", name))
    with pytest.raises(DataError, match=f"^task {shown}.*: its name must be text on one line"):
        small_task(name=name)


@pytest.mark.parametrize("name", ["köpek", "停止", "قطة", "a 'quoted' name", "🐈"])
def test_names_of_any_language_are_kept(name: str) -> None:
    assert checked_class_names(("cat", name), where="file") == ("cat", name)
