"""Splits are disjoint, complete, keep groups together, and are the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import noise
from mergeward.errors import DataError
from mergeward.images import ArrayImages
from mergeward.tasks.splits import Cut, Part, cut_development, make_splits
from mergeward.tasks.task import Labels, Split

NAMES = ("a", "b", "c")


def part(count: int, *, seed: int = 0, groups: Labels | None = None) -> Part:
    return Part(ArrayImages(noise(count, seed=seed)), np.arange(count) % len(NAMES), groups)


def digests(split: Split) -> list[str]:
    assert isinstance(split.images, ArrayImages)
    return list(split.images.digests())


def members(cut: Cut) -> list[Labels]:
    return [cut.train, cut.adapt, cut.validation]


units_strategy = st.lists(st.integers(-5, 40), min_size=3, max_size=120).filter(
    lambda units: len(set(units)) >= 3
)


@given(units_strategy, st.integers(0, 2**40))
def test_cuts_are_disjoint_complete_and_keep_units_together(units: list[int], seed: int) -> None:
    array = np.array(units)
    cut = cut_development(array, name="t", seed=seed)
    together = np.concatenate(members(cut))
    assert sorted(together.tolist()) == list(range(len(units)))
    held = [set(array[rows].tolist()) for rows in members(cut)]
    assert all(held)
    assert sum(len(units) for units in held) == len(set(units))


@given(units_strategy.filter(lambda units: len(set(units)) >= 10))
def test_a_cut_has_the_shares_asked_for(units: list[int]) -> None:
    array = np.array(units)
    cut = cut_development(array, name="t", seed=0, adapt_share=0.3, validation_share=0.2)
    count = len(np.unique(array))
    assert len(np.unique(array[cut.adapt])) == round(0.3 * count)
    assert len(np.unique(array[cut.validation])) == round(0.2 * count)


def test_another_seed_or_name_cuts_otherwise() -> None:
    units = np.arange(100)
    reference = cut_development(units, name="t", seed=0)
    assert np.array_equal(cut_development(units, name="t", seed=0).adapt, reference.adapt)
    assert not np.array_equal(cut_development(units, name="t", seed=1).adapt, reference.adapt)
    assert not np.array_equal(cut_development(units, name="u", seed=0).adapt, reference.adapt)


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5)), min_size=12, max_size=60).filter(
        lambda rows: len({group for _, group in rows}) == 6
    )
)
def test_equal_images_and_groups_stay_together(rows: list[tuple[int, int]]) -> None:
    """Whatever equal images join whatever groups, no image and no group ends up in two splits."""
    pool = noise(12)
    images = pool[[image for image, _ in rows]]
    groups = np.array([group for _, group in rows])
    train = Part(ArrayImages(images), np.zeros(len(rows), np.int64), groups)
    try:
        made = make_splits(train, test=part(3, seed=9), name="t", class_names=NAMES, seed=0)
    except DataError:
        return  # everything hangs together: there is nothing to cut
    held = [set(digests(made[name])) for name in ("train", "adapt", "validation")]
    assert sum(map(len, held)) == len(set().union(*held))
    key = {image.tobytes(): index for index, image in enumerate(pool)}
    where = {}
    for name in ("train", "adapt", "validation"):
        content = made[name].images
        assert isinstance(content, ArrayImages)
        for image in content.pixels:
            where[key[image.tobytes()]] = name
    for image, group in rows:
        others = [other for other, its_group in rows if its_group == group]
        assert {where[image]} == {where[other] for other in others}


def test_the_cut_of_distinct_images_is_that_of_their_rows() -> None:
    made = make_splits(part(40), test=part(6, seed=9), name="t", class_names=NAMES, seed=4)
    cut = cut_development(np.arange(40), name="t", seed=4)
    assert np.array_equal(made["adapt"].labels, (np.arange(40) % 3)[cut.adapt])


def test_images_of_measurement_are_taken_out_of_training() -> None:
    pixels = noise(40)
    train = Part(ArrayImages(pixels), np.zeros(40, np.int64))
    validation = Part(ArrayImages(pixels[:6]), np.zeros(6, np.int64))
    test = Part(ArrayImages(pixels[4:8]), np.zeros(4, np.int64))
    made = make_splits(train, validation, test, name="t", class_names=NAMES, seed=0)
    assert [len(made[name]) for name in ("validation", "test")] == [4, 4]
    assert len(made["train"]) + len(made["adapt"]) == 32
    everything = [digest for split in made.values() for digest in digests(split)]
    assert len(everything) == len(set(everything)) == 40


def test_a_validation_part_of_its_own_is_used_whole_and_only_adapt_is_cut() -> None:
    made = make_splits(part(40), part(9, seed=5), part(6, seed=6), name="t", class_names=NAMES, seed=0)
    assert {name: len(split) for name, split in made.items()} == {
        "train": 34,
        "adapt": 6,
        "validation": 9,
        "test": 6,
    }


def test_a_test_split_cut_off_has_a_fifth_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 2])
    train = Part(ArrayImages(noise(62)), labels)
    made = make_splits(train, name="t", class_names=NAMES, seed=0)
    assert np.bincount(made["test"].labels).tolist() == [10, 2, 1]
    everything = [digest for split in made.values() for digest in digests(split)]
    assert sorted(everything) == sorted(train.images.digests())


def test_a_test_split_cut_off_keeps_groups_together() -> None:
    groups = np.arange(60) // 3
    train = Part(ArrayImages(noise(60)), groups % 2, groups)
    made = make_splits(train, name="t", class_names=NAMES, seed=0)
    place = dict(zip(train.images.digests(), groups, strict=True))
    held = [{int(place[digest]) for digest in digests(split)} for split in made.values()]
    assert sum(map(len, held)) == 20


def test_a_class_of_one_image_cannot_give_a_test_image() -> None:
    train = Part(ArrayImages(noise(11)), np.array([0] * 10 + [1]))
    with pytest.raises(DataError, match="class 'b' has one image"):
        make_splits(train, name="t", class_names=NAMES, seed=0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="task 't': 2 training images"):
        make_splits(part(2), test=part(3, seed=9), name="t", class_names=NAMES, seed=0)


def test_training_images_that_are_all_test_images_are_refused() -> None:
    with pytest.raises(DataError, match="task 't': 0 training images"):
        make_splits(part(9), test=part(9), name="t", class_names=NAMES, seed=0)


def test_validation_images_that_are_all_test_images_are_refused() -> None:
    with pytest.raises(DataError, match="no image for the validation split"):
        make_splits(part(40), part(9, seed=5), part(9, seed=5), name="t", class_names=NAMES, seed=0)
