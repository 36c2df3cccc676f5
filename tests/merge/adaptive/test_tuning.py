from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.activations import QuickGELUActivation

from mergeward.merge.adaptive.tuning import Patches, quick_gelu, tune

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tower() -> nn.Module:
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=12,
        patch_size=4,
        projection_dim=6,
    )
    return CLIPVisionModelWithProjection(config).double().eval()


@pytest.mark.parametrize("mixed", [False, True])
def test_values_and_gradients_of_a_tower_stay(mixed):
    plain = tower()
    tuned = copy.deepcopy(plain)
    tune(tuned, mixed=mixed)
    assert any("forward" in vars(layer) for layer in tuned.modules())
    assert tuned.vision_model(torch.zeros(2, 3, 12, 12).double()).last_hidden_state.shape == (2, 1, 16)
    assert not any("forward" in vars(layer) for layer in plain.modules())
    assert plain.config._attn_implementation == "sdpa"
    assert (tuned.config._attn_implementation == "eager") is mixed
    found = []
    for model in (plain, tuned):
        images = torch.rand(3, 3, 12, 12, generator=generator(), dtype=torch.float64).requires_grad_()
        features = model(pixel_values=images).image_embeds
        features.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((features.detach(), images.grad, gradients))
    # Attention spelt out takes its softmax in float32.
    torch.testing.assert_close(*found, **({"rtol": 1e-4, "atol": 1e-5} if mixed else EXACT))


@pytest.mark.parametrize("size", [(8, 12), (9, 14)])
@pytest.mark.parametrize("bias", [False, True])
def test_patches_are_the_convolution(size, bias):
    layer = nn.Conv2d(3, 5, (4, 3), stride=(4, 3), bias=bias).double()
    images = torch.rand(2, 3, *size, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(Patches(layer)(images), layer(images), **EXACT)


@pytest.mark.parametrize(
    "changed", [{"stride": 2}, {"padding": 1}, {"dilation": 2, "stride": 4}, {"groups": 3, "stride": 4}]
)
def test_other_convolutions_are_left_alone(changed):
    layer = nn.Conv2d(3, 6, 4, **{"stride": 4, **changed})
    assert not Patches.fits(layer)
    tune(layer, mixed=False)
    assert "forward" not in vars(layer)


def test_quick_gelu_is_that_of_transformers():
    values = torch.linspace(-20, 20, 101, dtype=torch.float64)
    torch.testing.assert_close(quick_gelu(values), QuickGELUActivation()(values), **EXACT)
