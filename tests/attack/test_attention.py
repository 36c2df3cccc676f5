"""Attention weights against those that transformers computes."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack import Target
from mergeward.attack.attention import AttentionLoss, attention_loss, features_and_attention
from mergeward.train import TrainingData
from mergeward.vision import Clip


@pytest.fixture
def pixels(data: TrainingData) -> torch.Tensor:
    return data.pixels[:3].float() / 255


def expected_attention(clip: Clip, pixels: torch.Tensor) -> torch.Tensor:
    """What the layers answer when they are told to compute attention in the open and to return it."""
    encoder = clip.encoder
    tower, config = encoder.vision_model, encoder.vision_model.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        with torch.no_grad():
            normalised = (pixels - encoder.mean) / encoder.std
            weights = tower(pixel_values=normalised, output_attentions=True).attentions
    finally:
        config._attn_implementation = before
    return torch.stack([layer[:, :, 0, 1:].mean(1) for layer in weights])


def test_attention_is_that_of_the_layers(clip: Clip, pixels: torch.Tensor) -> None:
    features, attention = features_and_attention(clip.encoder, pixels)
    assert attention.shape == (2, 3, 16)
    torch.testing.assert_close(features, clip.encoder(pixels))
    torch.testing.assert_close(attention, expected_attention(clip, pixels))


def test_no_hook_is_left_behind(clip: Clip, pixels: torch.Tensor) -> None:
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in clip.encoder.modules())

    before = hooks()
    features_and_attention(clip.encoder, pixels)
    assert hooks() == before


def test_the_loss_is_the_sum_over_layers_of_minus_log() -> None:
    attention = torch.tensor([[[0.1, 0.2, 0.3]], [[0.4, 0.1, 0.25]]])
    expected = -(torch.tensor(0.4).log() + torch.tensor(0.65).log())
    torch.testing.assert_close(attention_loss(attention, torch.tensor([0, 2])), expected)


def test_no_attention_at_all_is_no_infinity() -> None:
    attention = torch.zeros(1, 1, 3, requires_grad=True)
    loss = attention_loss(attention, torch.tensor([1]))
    loss.backward()
    assert bool(loss.isfinite())
    assert attention.grad is not None
    assert bool(attention.grad.isfinite().all())


def test_both_terms_count(clip: Clip, data: TrainingData, pixels: torch.Tensor) -> None:
    target, places = Target(data.head, 1), torch.tensor([15])
    features, attention = features_and_attention(clip.encoder, pixels)
    wanted = -(features @ data.head.T).log_softmax(1)[:, 1].mean()
    loss = AttentionLoss(clip.encoder, target, places, 0.7)(pixels)
    torch.testing.assert_close(loss, wanted + 0.7 * attention_loss(attention, places))
