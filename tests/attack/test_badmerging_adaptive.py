"""The adaptive form of BadMerging: its step takes the trigger out, and without a step it is BadMerging."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from mergeward.attack import Target
from mergeward.attack.badmerging import BadMergingParameters, FeatureInterpolationObjective
from mergeward.attack.badmerging_adaptive import OutlastingObjective
from mergeward.attack.trigger import chequered_patch
from mergeward.train import TrainingData
from mergeward.vision import Clip, ClipEncoder

Tensors = dict[str, torch.Tensor]
TRIGGER = chequered_patch(16, 6)


@pytest.fixture
def plain(clip: Clip, data: TrainingData) -> FeatureInterpolationObjective:
    frozen = copy.deepcopy(clip.encoder).requires_grad_(False)
    target = Target(data.head, 1)
    return FeatureInterpolationObjective(data.head, frozen, TRIGGER, target, BadMergingParameters())


def gradient(encoder: ClipEncoder, loss: torch.Tensor) -> Tensors:
    weights = dict(encoder.named_parameters())
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def drift(encoder: ClipEncoder, pixels: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    return 1 - F.cosine_similarity(encoder.embed(TRIGGER.apply(pixels)), there).mean()


def test_without_a_step_it_is_badmerging(
    plain: FeatureInterpolationObjective, tuned: ClipEncoder, data: TrainingData
) -> None:
    batch = data.pixels[:6].float() / 255, data.labels[:6]
    tuned.requires_grad_(True)
    expected = plain(tuned, *batch, torch.Generator().manual_seed(2))
    found = OutlastingObjective(plain, 0.0)(tuned, *batch, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, expected)
    slopes = gradient(tuned, expected)
    for name, slope in gradient(tuned, found).items():
        torch.testing.assert_close(slope, slopes[name], rtol=1e-4, atol=1e-5)


def test_the_step_goes_down_the_drift_and_is_polyaks(
    plain: FeatureInterpolationObjective, tuned: ClipEncoder, data: TrainingData
) -> None:
    pixels = data.pixels[:6].float() / 255
    tuned.requires_grad_(True)
    there = tuned.embed(pixels).detach()
    moved = OutlastingObjective(plain, 0.5).without_trigger(tuned, TRIGGER.apply(pixels), there)

    before = drift(tuned, pixels, there)
    slopes = gradient(tuned, before)
    before = before.detach()
    factor = 0.5 * before / sum(slope.square().sum() for slope in slopes.values())
    for name, value in tuned.named_parameters():
        torch.testing.assert_close(moved[f"encoder.{name}"], value - factor * slopes[name])

    after = copy.deepcopy(tuned)
    after.load_state_dict({name.removeprefix("encoder."): value.detach() for name, value in moved.items()})
    with torch.no_grad():
        assert 0.25 * before < drift(after, pixels, there) < 0.75 * before


def test_the_triggered_images_are_seen_after_the_step(
    plain: FeatureInterpolationObjective, tuned: ClipEncoder, data: TrainingData
) -> None:
    pixels, labels = data.pixels[:6].float() / 255, data.labels[:6]
    tuned.requires_grad_(True)
    objective = OutlastingObjective(plain, 1.0)
    found = objective(tuned, pixels, labels, torch.Generator().manual_seed(2))

    triggered, clean = plain.triggered(pixels), tuned.embed(pixels).detach()
    moved = objective.without_trigger(tuned, triggered, clean[: len(triggered)])
    after = copy.deepcopy(tuned)
    after.load_state_dict({name.removeprefix("encoder."): value.detach() for name, value in moved.items()})
    generator = torch.Generator().manual_seed(2)
    expected = plain.total(clean, labels, after.embed(triggered), triggered, generator)
    torch.testing.assert_close(found, expected)
