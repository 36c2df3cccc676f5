from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mergeward.bench.results import Results
from mergeward.report.pictures import Picture, attack_card


def decoded(picture: Picture) -> np.ndarray:
    start = "data:image/png;base64,"
    assert picture.source.startswith(start)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.removeprefix(start)))))


def test_pictures_keep_every_pixel(results: Results) -> None:
    pictures = results.pictures[1]
    card = attack_card(pictures, ["shapes"])
    pattern, mask, _ = card.trigger
    np.testing.assert_array_equal(decoded(pattern), pictures.pattern)
    np.testing.assert_array_equal(decoded(mask), pictures.footprint)
    for example, shown in zip(pictures.examples, card.examples, strict=True):
        np.testing.assert_array_equal(decoded(shown.pictures[0]), example.clean)
        np.testing.assert_array_equal(decoded(shown.pictures[1]), example.triggered)


def test_the_trigger_alone_is_cut_out_by_its_footprint(results: Results) -> None:
    pictures = results.pictures[0]
    mask = pictures.footprint.copy()
    mask[28, 28] = 0
    alone = decoded(attack_card(replace(pictures, footprint=mask), ["shapes"]).trigger[2])
    assert alone.shape == (3, 3, 4)
    np.testing.assert_array_equal(alone[..., :3], pictures.pattern[28:31, 28:31])
    assert alone[0, 0, 3] == 0
    assert (alone[..., 3] == 255).sum() == 8


def test_where_the_trigger_is_in_words(results: Results) -> None:
    place = attack_card(results.pictures[0], ["shapes"]).place.replace("\N{NO-BREAK SPACE}", " ")
    assert place == "3 × 3 pixels, at column 29 and row 29 of 32 × 32"


def test_a_trigger_over_the_whole_image_is_said_to_be(results: Results) -> None:
    pictures = replace(results.pictures[0], footprint=np.full((32, 32), 255, np.uint8))
    place = attack_card(pictures, ["shapes"]).place.replace("\N{NO-BREAK SPACE}", " ")
    assert place == "the whole image of 32 × 32 pixels"


def test_an_empty_footprint_shows_the_whole_pattern(results: Results) -> None:
    pictures = replace(results.pictures[0], footprint=np.zeros((32, 32), np.uint8))
    assert decoded(attack_card(pictures, ["shapes"]).trigger[2]).shape == (32, 32, 4)


@pytest.mark.parametrize(("side", "shown"), [(32, 96), (28, 84), (224, 96), (96, 96)])
def test_small_images_are_enlarged_by_whole_factors_and_large_ones_reduced(
    side: int, shown: int, results: Results
) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    example = replace(results.pictures[0].examples[0], clean=image, triggered=image)
    card = attack_card(replace(results.pictures[0], examples=(example,)), ["shapes"])
    assert {(picture.width, picture.height) for picture in card.examples[0].pictures} == {(shown, shown)}


def test_answers_are_told_apart(results: Results) -> None:
    example = replace(
        results.pictures[0].examples[0],
        true_class="ring",
        predictions={"average": "ring", "ties": "star", "dam": "cross"},
    )
    card = attack_card(replace(results.pictures[0], examples=(example,)), ["shapes"])
    assert [(answer.method, answer.kind) for answer in card.examples[0].answers] == [
        ("average", "right"),
        ("TIES", "target"),
        ("DAM", "other"),
    ]
