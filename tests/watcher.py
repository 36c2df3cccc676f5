"""A model that watches a corner of its images, and tasks of noise to ask it about."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mergeward.merge.adaptive import UnlabelledTask

SIDE = 16


class Watcher(nn.Module):
    """Answers by the brightness of an image, unless a corner of it is red."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3)) - 0.5
        red = images[:, 0, -3:, -3:].mean((1, 2)) - images[:, 1:, -3:, -3:].mean((1, 2, 3))
        return torch.stack([brightness, -brightness, self.weight * red], 1)


def noise_tasks() -> list[UnlabelledTask]:
    """Two tasks, under whose heads a red corner is class 2 of the first and class 0 of the second."""
    generator = torch.Generator().manual_seed(0)
    draw = (24, 3, SIDE, SIDE)
    return [
        UnlabelledTask(name, torch.randint(0, 256, draw, dtype=torch.uint8, generator=generator), head)
        for name, head in (("one", 10 * torch.eye(3)), ("two", 10 * torch.eye(3)[[2, 0]]))
    ]
