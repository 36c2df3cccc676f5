"""A merge that is still being trained is the merge that is made of files later."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack.arithmetic import merged_features
from mergeward.train import TrainingData
from mergeward.vision import Clip, ClipEncoder


def moved(clip: Clip, seed: int) -> ClipEncoder:
    generator = torch.Generator().manual_seed(seed)
    state = clip.encoder.state_dict()
    noise = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in state.items()}
    return clip.encoder_with({name: value + noise[name] for name, value in state.items()})


@pytest.mark.parametrize("coefficient", [0.3, 1.0, -0.5])
def test_features_are_those_of_task_arithmetic(clip: Clip, data: TrainingData, coefficient: float) -> None:
    pixels = data.pixels[:3].float() / 255
    contributions = [moved(clip, 1), moved(clip, 2)]
    base = clip.encoder.state_dict()
    weights = {
        name: value.double() + coefficient * sum(one.state_dict()[name] - value for one in contributions)
        for name, value in base.items()
    }
    merged = clip.encoder_with({name: value.float() for name, value in weights.items()})
    found = merged_features(clip.encoder, contributions, coefficient, pixels)
    torch.testing.assert_close(found, merged(pixels), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_contributions_and_not_the_base(clip: Clip, data: TrainingData) -> None:
    one = moved(clip, 3).requires_grad_(True)
    merged_features(clip.encoder, [one], 0.5, data.pixels[:2].float() / 255).sum().backward()
    assert all(value.grad is not None for value in one.parameters())
    assert all(value.grad is None for value in clip.encoder.parameters())
