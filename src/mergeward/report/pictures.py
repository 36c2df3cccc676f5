"""Images as part of a page: PNG in `data:` addresses, at a size that shows single pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from mergeward.bench.results import AttackPictures, Example
from mergeward.report.words import enumeration, label

Pixels = npt.NDArray[np.uint8]

TRIGGER_SIDE = 128
"""Wanted size of the trigger's pictures on the page, in CSS pixels."""

EXAMPLE_SIDE = 96
"""Wanted size of an example's pictures."""


@dataclass(frozen=True)
class Picture:
    """An image ready for the page.

    Attributes:
        source: `data:` address.
        width: On the page, in CSS pixels: a whole multiple of the image's own where that is smaller.
        height: On the page.
        alt: What it shows, in words.
        caption: Shown below it; may be empty.
    """

    source: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class Answer:
    """What one merge predicts for a triggered image.

    Attributes:
        method: Merge method, as shown.
        predicted: Class name.
        kind: `target` when it is what the attacker wants, `right` when it is the true class, else `other`.
    """

    method: str
    predicted: str
    kind: str


@dataclass(frozen=True)
class ExampleCard:
    """A test image, with and without the trigger, and the answers of the merges.

    Attributes:
        true_class: Class name.
        pictures: Without and with the trigger.
        answers: One for each method.
    """

    true_class: str
    pictures: tuple[Picture, Picture]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class AttackCard:
    """An attack as the page shows it.

    Attributes:
        title: The attack, as shown.
        task: The attacked task, as shown.
        target_class: Class name that the trigger asks for.
        place: Which pixels the trigger may change, in words.
        trigger: Pattern, footprint, and the trigger alone, enlarged.
        examples: Test images.
    """

    title: str
    task: str
    target_class: str
    place: str
    trigger: tuple[Picture, Picture, Picture]
    examples: tuple[ExampleCard, ...]


def attack_card(pictures: AttackPictures, tasks: Sequence[str]) -> AttackCard:
    """Return the pictures of one attack, ready for the page.

    Args:
        pictures: What the attack looks like.
        tasks: The tasks that it aims at.
    """
    name = label(pictures.attack)
    top, bottom, left, right = _bounds(pictures.footprint)
    alone = np.dstack([pictures.pattern, pictures.footprint])[top:bottom, left:right]
    return AttackCard(
        title=name,
        task=enumeration([label(task) for task in tasks]),
        target_class=pictures.target_class,
        place=_place(pictures.footprint),
        trigger=(
            picture(pictures.pattern, TRIGGER_SIDE, f"The {name} trigger", "pattern"),
            picture(
                pictures.footprint,
                TRIGGER_SIDE,
                f"The pixels that the {name} trigger may change, in white",
                "place",
            ),
            picture(alone, TRIGGER_SIDE, f"The {name} trigger alone, enlarged", "enlarged"),
        ),
        examples=tuple(_example(example, pictures.target_class) for example in pictures.examples),
    )


def _example(example: Example, target: str) -> ExampleCard:
    alt = f"Test image of class {example.true_class}"
    return ExampleCard(
        true_class=example.true_class,
        pictures=(
            picture(example.clean, EXAMPLE_SIDE, f"{alt}, without the trigger", ""),
            picture(example.triggered, EXAMPLE_SIDE, f"{alt}, with the trigger", ""),
        ),
        answers=tuple(
            Answer(label(method), predicted, _kind(predicted, example.true_class, target))
            for method, predicted in example.predictions.items()
        ),
    )


def _kind(predicted: str, true_class: str, target: str) -> str:
    if predicted == target:
        return "target"
    return "right" if predicted == true_class else "other"


def _bounds(footprint: Pixels) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the box around a footprint; the whole image for an empty one."""
    rows, columns = np.nonzero(footprint)
    if len(rows) == 0:
        return 0, footprint.shape[0], 0, footprint.shape[1]
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def _place(footprint: Pixels) -> str:
    top, bottom, left, right = _bounds(footprint)
    inside = footprint[top:bottom, left:right]
    if inside.shape == footprint.shape:
        return f"the whole image of {_size(footprint)} pixels"
    return f"{_size(inside)} pixels, at column {left + 1} and row {top + 1} of {_size(footprint)}"


def _size(pixels: Pixels) -> str:
    height, width = pixels.shape[:2]
    return f"{width}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{height}"


def picture(pixels: Pixels, side: int, alt: str, caption: str) -> Picture:
    """Return pixels as a picture of about a wanted side, in CSS pixels."""
    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    if factor > 1:
        factor = float(round(factor))
    return Picture(_data_address(pixels), round(width * factor), round(height * factor), alt, caption)


def png_picture(png: bytes, side: int, alt: str, caption: str) -> Picture:
    """Return a PNG as a picture of about a wanted side, in CSS pixels."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return picture(np.asarray(image.convert("RGB")), side, alt, caption)


def _data_address(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
