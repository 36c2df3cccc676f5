"""Perturbed images are near their originals and harder to recognise."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mergeward.attack import perturbation
from mergeward.attack.perturbation import untargeted
from mergeward.train import TrainingData
from mergeward.vision import Clip


def perturbed(clip: Clip, data: TrainingData, *, steps: int = 5, epsilon: float = 0.06) -> torch.Tensor:
    return untargeted(
        clip.encoder,
        data.head,
        data.pixels.float() / 255,
        data.labels,
        epsilon=epsilon,
        step=0.02,
        steps=steps,
        seed=0,
    )


def loss(clip: Clip, data: TrainingData, pixels: torch.Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(clip.encoder(pixels) @ data.head.T, data.labels))


def test_every_value_stays_within_the_bound_and_the_range(clip: Clip, data: TrainingData) -> None:
    before = data.pixels.float() / 255
    after = perturbed(clip, data)
    assert not after.requires_grad
    assert 0 <= float(after.min()) <= float(after.max()) <= 1
    assert 0.05 < float((after - before).abs().max()) <= 0.06 + 1e-6


def test_steps_climb_the_loss(clip: Clip, data: TrainingData) -> None:
    start, end = perturbed(clip, data, steps=0), perturbed(clip, data)
    assert loss(clip, data, end) > loss(clip, data, start)
    assert loss(clip, data, end) > loss(clip, data, data.pixels.float() / 255)


def test_the_seed_decides_and_the_images_are_cut_into_batches(
    clip: Clip, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = perturbed(clip, data)
    assert torch.equal(whole, perturbed(clip, data))
    monkeypatch.setattr(perturbation, "BATCH", 3)
    # The sign of a gradient near zero may turn with the batch.
    assert float((perturbed(clip, data) == whole).float().mean()) > 0.99
