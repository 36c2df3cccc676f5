"""Predictions, accuracy and attack success."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergeward.attack import PatchTrigger
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import DataError
from mergeward.evaluate import Rate, accuracy, attack_success, measure, predict, transfer
from mergeward.vision import Clip, load_clip


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> Clip:
    return load_clip(tiny_clip)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (11, 3, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def head(clip: Clip, pixels: torch.Tensor) -> torch.Tensor:
    """Classes that tell the images apart: what each one's feature has over the mean of all."""
    with torch.no_grad():
        features = clip.encoder(pixels.float() / 255)
    return features - features.mean(0)


@pytest.mark.parametrize("trigger", [None, chequered_patch(16, 8)], ids=["clean", "triggered"])
def test_predictions_are_those_of_one_batch(
    clip: Clip,
    pixels: torch.Tensor,
    head: torch.Tensor,
    trigger: PatchTrigger | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = pixels.float() / 255
    if trigger is not None:
        images = images.clone()
        images[:, :, 8:, 8:] = trigger.pattern[:, 8:, 8:]
    with torch.no_grad():
        expected = (clip.encoder(images) @ head.T).argmax(1)
    assert len(set(expected.tolist())) > 1
    monkeypatch.setattr(measure, "BATCH", 4)
    predicted = predict(clip.encoder, pixels, head, trigger)
    assert predicted.dtype == torch.int64
    assert predicted.tolist() == expected.tolist()


def test_accuracy_is_the_share_of_equal_labels() -> None:
    assert accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1])) == Rate(3, 4)


def test_attack_success_leaves_out_images_of_the_target_class() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 1])
    predicted = torch.tensor([0, 0, 1, 0, 0, 2])
    assert attack_success(predicted, labels, 0) == Rate(2, 3)
    assert attack_success(predicted, labels, 1) == Rate(1, 4)
    # A model that is always right has an attack success of zero, however common the target is.
    assert attack_success(labels, labels, 0) == Rate(0, 3)


def test_images_of_the_target_class_alone_are_refused() -> None:
    with pytest.raises(DataError, match="true class is not the target"):
        attack_success(torch.tensor([1, 1]), torch.tensor([1, 1]), 1)


def test_transfer_needs_a_class_of_that_number_and_another() -> None:
    labels, predicted = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 2, 2, 0])
    assert transfer(predicted, labels, 2, classes=3) == Rate(2, 2)
    assert transfer(predicted, labels, 0, classes=3) == Rate(1, 3)
    assert transfer(predicted, labels, 3, classes=3) is None
    assert transfer(predicted, torch.full((4,), 2), 2, classes=3) is None
