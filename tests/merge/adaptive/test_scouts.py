"""Scouts against the same written down plainly; what stands out to them is a class with a backdoor."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mergeward.merge.adaptive.merged_encoder import MergedEncoder
from mergeward.merge.adaptive.problem import UnlabelledTask
from mergeward.merge.adaptive.scouts import Scouting, scout
from mergeward.seeding import torch_generator

SIDE, CLASSES = 8, 4
SCOUTING = Scouting(steps=6, images=2, patch=0.25, step=0.2)


class Corner(nn.Module):
    """Its features are the mean colour, and far more so the green of the last corner."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 10.0]))

    def forward(self, images):
        corner = images[:, 1:2, -2:, -2:].mean((2, 3))
        return self.weight * torch.cat([images.mean((2, 3)), corner], 1)


def scouted(scouting=SCOUTING, seed=0):
    encoder = Corner()
    base = {name: value.detach().double() for name, value in encoder.named_parameters()}
    engine = MergedEncoder(encoder, base, [base], dtype=torch.float64)
    images = torch.randint(256, (9, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.manual_seed(1))
    head = torch.eye(CLASSES)
    return scout(engine, UnlabelledTask("toy", images, head), head.double(), scouting, seed)


def test_the_class_that_one_corner_stands_for_is_the_nearest():
    found = scouted()
    assert found.shape == (CLASSES,)
    assert found.dtype == torch.float64
    assert int(found.argmin()) == 3
    assert float(found[3]) < 0.5 * float(found[:3].min())


def test_more_steps_come_nearer():
    few, many = (scouted(Scouting(steps, 2, 0.25, 0.2)) for steps in (1, 12))
    assert bool((many < few).all())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_step_sees_the_cross_entropy_with_random_patches(seed):
    """Patches of half the side cover the image, so that its own pixels do not matter."""
    found = scouted(Scouting(steps=1, images=3, patch=0.5, step=0.2), seed)
    generator = torch_generator(seed, "scouts", "toy")
    patches = torch.rand(CLASSES, 3, SIDE, SIDE, generator=generator).double()
    expected = F.cross_entropy(Corner()(patches), torch.arange(CLASSES), reduction="none")
    torch.testing.assert_close(found, expected.detach() / 2)


def test_without_steps_no_class_stands_out():
    assert scouted(Scouting(0, 2, 0.25, 0.2)).tolist() == [0.0] * CLASSES
