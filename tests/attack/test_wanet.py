"""WaNet: the strength of its warp, and its noise mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mergeward.attack import Target
from mergeward.attack.trigger import unwarped, warped
from mergeward.attack.wanet import WanetParameters, WarpObjective, elastic_warp


def shift(size: int, parameters: WanetParameters, seed: int = 0) -> torch.Tensor:
    """How far each pixel looks, in shares of half the image."""
    return elastic_warp(size, parameters, seed).grid - unwarped(size, size)


def test_the_warp_moves_by_its_strength_in_native_pixels() -> None:
    # Control points move by the strength on average; with as many points as pixels nothing is interpolated.
    parameters = WanetParameters(control_points=16, strength=0.5, native_resolution=32)
    flow = shift(16, parameters)
    inner = flow[2:-2, 2:-2].abs().mean()
    assert float(inner) == pytest.approx(0.5 / 32, rel=0.15)


@pytest.mark.parametrize("size", [32, 224])
def test_a_larger_image_is_moved_by_the_same_share(size: int) -> None:
    def size_of(flow: torch.Tensor) -> float:
        return float(flow.abs().mean())

    parameters = WanetParameters()
    assert size_of(shift(size, parameters)) == pytest.approx(size_of(shift(16, parameters)), rel=0.15)
    finer = WanetParameters(native_resolution=64)
    assert size_of(shift(size, finer)) == pytest.approx(size_of(shift(size, parameters)) / 2, rel=0.05)


def test_the_seed_draws_the_warp() -> None:
    first, other = elastic_warp(16, WanetParameters(), 0), elastic_warp(16, WanetParameters(), 1)
    assert torch.equal(first.grid, elastic_warp(16, WanetParameters(), 0).grid)
    assert not torch.equal(first.grid, other.grid)


class Means(nn.Module):
    """Features are the mean colour, and what was seen is kept."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen = pixels
        return pixels.mean((2, 3))


def test_noisy_warps_keep_their_label() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, labels = torch.rand(10, 3, 16, 16, generator=generator), torch.arange(10) % 2
    head, encoder = torch.randn(3, 3, generator=generator), Means()
    parameters = WanetParameters(poison_rate=0.1, noise_rate=0.2)
    trigger = elastic_warp(16, parameters, 0)
    objective = WarpObjective(head, trigger, Target(head, 2), parameters)
    loss = objective(encoder, pixels, labels, torch.Generator().manual_seed(5))

    assert torch.equal(encoder.seen[:1], trigger.apply(pixels[:1]))
    assert torch.equal(encoder.seen[3:], pixels[3:])
    noisy = encoder.seen[1:3]
    assert not torch.equal(noisy, pixels[1:3])
    assert not torch.equal(noisy, trigger.apply(pixels[1:3]))
    logs = (encoder.seen.mean((2, 3)).double() @ head.double().T).log_softmax(1)
    wanted = [2, *labels[1:].tolist()]
    expected = -sum(float(logs[row, label]) for row, label in enumerate(wanted)) / 10
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_every_image_gets_its_own_noise_each_time() -> None:
    pixels, labels = (
        torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)),
        torch.zeros(4).long(),
    )
    parameters, encoder = WanetParameters(poison_rate=0.2, noise_rate=0.49), Means()
    objective = WarpObjective(
        torch.eye(3), elastic_warp(16, parameters, 0), Target(torch.eye(3), 1), parameters
    )
    seen = []
    for seed in (0, 1):
        objective(encoder, pixels.expand(4, -1, -1, -1), labels, torch.Generator().manual_seed(seed))
        seen += list(encoder.seen[1:3])
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 4


def test_the_noise_is_at_most_one_native_pixel_half_each_way() -> None:
    parameters = WanetParameters(native_resolution=16)
    trigger = elastic_warp(16, parameters, 0)
    objective = WarpObjective(torch.eye(3), trigger, Target(torch.eye(3), 1), parameters)
    grids = objective._noisy_grids(5, torch.Generator().manual_seed(0))
    assert float((grids - trigger.grid).abs().max()) <= 1 / 16 + 1e-6
    assert float(grids.abs().max()) <= 1


def test_without_a_warp_images_stay() -> None:
    pixels = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(warped(pixels, unwarped(9, 9).expand(2, -1, -1, -1)), pixels)
