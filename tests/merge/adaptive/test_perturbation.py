from __future__ import annotations

import pytest
import torch

from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive.perturbation import Perturbations, PixelSpace


def test_deltas_climb_within_their_bound():
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    perturbations = Perturbations([3, 2], 4, bound=0.03, lr=0.02)
    direction = torch.linspace(-1, 1, 48).view(3, 4, 4)
    heights = []
    for _ in range(5):
        perturbed = perturbations.apply(images)
        height = (perturbed * direction).sum()
        heights.append(height.item())
        perturbations.climb(height)
    assert heights[-1] > heights[1] > heights[0]
    assert float(perturbations.values.detach().abs().max()) == torch.tensor(0.03).item()
    perturbed = perturbations.apply(images).detach()
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1


def test_each_task_has_its_own_delta():
    images = torch.full((5, 3, 4, 4), 0.5)
    perturbations = Perturbations([3, 2], 4, bound=0.1, lr=0.05)
    perturbations.climb(perturbations.apply(images)[3:].sum())
    changed = (perturbations.apply(images) - images).detach().abs().amax(dim=(1, 2, 3)) > 0
    assert changed.tolist() == [False, False, False, True, True]


def test_pixels_at_the_limits_stay_there():
    images = torch.cat([torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)])
    perturbations = Perturbations([2], 2, bound=0.1, lr=0.1)
    with torch.no_grad():
        perturbations.values.fill_(0.1)
    perturbed = perturbations.apply(images)
    assert torch.equal(perturbed[1], images[1])
    torch.testing.assert_close(perturbed[0], torch.full((3, 2, 2), 0.1))


class Normalising(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.25, 0.2, 0.1]).view(1, 3, 1, 1))


def test_normalised_pixels_are_moved_and_clamped_as_such():
    encoder = Normalising()
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    space = PixelSpace.normalised(encoder)
    perturbations = Perturbations([2], 4, bound=None, lr=0.1, dtype=torch.float64, space=space)
    with torch.no_grad():
        perturbations.values.fill_(0.7)
    normalised = (images - encoder.mean) / encoder.std + 0.7
    moved = (perturbations.apply(images, clamp=False) - encoder.mean) / encoder.std
    torch.testing.assert_close(moved.detach(), normalised, rtol=1e-6, atol=1e-6)
    clamped = (perturbations.apply(images) - encoder.mean) / encoder.std
    torch.testing.assert_close(clamped.detach(), normalised.clamp(0, 1), rtol=1e-6, atol=1e-6)


def test_without_a_bound_deltas_go_on():
    perturbations = Perturbations([1], 2, bound=None, lr=1.0)
    images = torch.zeros(1, 3, 2, 2)
    for _ in range(3):
        perturbations.climb(perturbations.apply(images, clamp=False).sum())
    assert float(perturbations.values.detach().min()) > 2


def test_an_encoder_that_does_not_say_how_it_normalises_is_refused():
    with pytest.raises(UnsupportedError, match="mean and std"):
        PixelSpace.normalised(torch.nn.Identity())
