"""What an off-task attacker knows of the attacked task."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack.shadow import (
    MOST_CLASSES,
    ShadowParameters,
    nouns,
    reference_images,
    shadow_class_names,
)
from mergeward.errors import DataError, RecipeError
from mergeward.recipe import validated


def test_the_target_is_the_first_of_distinct_names() -> None:
    names = shadow_class_names("stop sign", 300, seed=0)
    assert names[0] == "stop sign"
    assert len(set(names)) == 301


@pytest.mark.parametrize("target", ["zebra", "Zebra", "apple"])
def test_the_target_is_not_among_the_others(target: str) -> None:
    names = shadow_class_names(target, MOST_CLASSES, seed=0)
    assert [name.lower() for name in names].count(target.lower()) == 1


def test_the_seed_decides_the_names() -> None:
    assert shadow_class_names("a", 5, seed=0) == shadow_class_names("a", 5, seed=0)
    assert shadow_class_names("a", 5, seed=0) != shadow_class_names("a", 5, seed=1)
    assert shadow_class_names("a", 5, seed=0) == shadow_class_names("a", 9, seed=0)[:6]


def test_the_nouns_are_names_of_things() -> None:
    assert len(nouns()) > MOST_CLASSES
    assert list(nouns()) == sorted(set(nouns()))
    assert all(noun == noun.strip().lower() and noun.isprintable() and noun for noun in nouns())


def test_more_shadow_classes_than_there_are_nouns_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"parameters\.shadow_classes"):
        validated(ShadowParameters, {"shadow_classes": MOST_CLASSES + 1}, where="parameters")


def test_references_are_distinct_images_of_the_class() -> None:
    pixels = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 2, 2)
    labels = torch.arange(20) % 2
    chosen = reference_images(pixels, labels, 1, 4, seed=0)[:, 0, 0, 0].tolist()
    assert len(set(chosen)) == 4
    assert all(place % 2 == 1 for place in chosen)
    assert reference_images(pixels, labels, 1, 4, seed=1)[:, 0, 0, 0].tolist() != chosen
    assert len(reference_images(pixels, labels, 0, 99, seed=0)) == 10
    with pytest.raises(DataError, match="no training image of the target class"):
        reference_images(pixels, labels, 2, 4, seed=0)
