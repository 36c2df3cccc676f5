"""The input-aware attack: masks of a density, triggers of an image, cross-triggers that keep the label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mergeward.attack import AttackProblem, Target, dynamic
from mergeward.attack.dynamic import DynamicParameters, InputAwareObjective, diversity_loss, train_masks
from mergeward.attack.trigger import GeneratorTrigger, PatternNetwork
from mergeward.train import TrainingData


def network(seed: int = 0) -> PatternNetwork:
    made, generator = PatternNetwork(4), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return made


def test_the_diversity_loss_is_the_released_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 8, 8, generator=generator)
    outputs = torch.rand(4, 1, 8, 8, generator=generator)
    ratios = []
    for row in range(4):
        before, after = (one.double().numpy()[[row, (row + 1) % 4]] for one in (images, outputs))
        ratios.append(np.linalg.norm(before[0] - before[1]) / np.linalg.norm(after[0] - after[1]))
    assert float(diversity_loss(images, outputs)) == pytest.approx(np.mean(ratios), rel=1e-5)


def test_masks_shrink_to_their_density(data: TrainingData) -> None:
    made = network()
    images = data.pixels.float() / 255
    with torch.no_grad():
        made.mask_layers[-1].bias.fill_(0.5)
        before = float(made.mask(images).mean())
    patterns = [value.clone() for value in made.pattern_layers.parameters()]
    parameters = DynamicParameters(density=0.05, mask_steps=60, mask_batch_size=8)
    train_masks(made, data, parameters, seed=0)
    assert float(made.mask(images).mean()) < min(0.2, before / 2)
    assert all(torch.equal(*pair) for pair in zip(made.pattern_layers.parameters(), patterns, strict=True))
    assert not any(value.requires_grad for value in made.mask_layers.parameters())


class Means(nn.Module):
    """Features are the mean colour, and what was seen is kept."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen = pixels
        return pixels.mean((2, 3))


def test_a_trigger_of_another_image_keeps_the_label() -> None:
    generator, made, encoder = torch.Generator().manual_seed(1), network(), Means()
    pixels, labels = torch.rand(10, 3, 8, 8, generator=generator), torch.arange(10) % 2
    head = torch.randn(3, 3, generator=generator)
    optimiser = torch.optim.Adam(made.pattern_layers.parameters(), lr=0.0)
    parameters = DynamicParameters(poison_rate=0.2, cross_rate=0.1)
    objective = InputAwareObjective(head, made, optimiser, Target(head, 2), parameters)
    loss = objective(encoder, pixels, labels, generator)

    with torch.no_grad():
        own = made(pixels[:2])
        mask, pattern = made.mask(pixels[1:2]), made.pattern(pixels[1:2])
    torch.testing.assert_close(encoder.seen[:2], own)
    torch.testing.assert_close(encoder.seen[2:3], pixels[2:3] * (1 - mask) + pattern * mask)
    assert torch.equal(encoder.seen[3:], pixels[3:])
    logs = (encoder.seen.mean((2, 3)).double() @ head.double().T).log_softmax(1)
    wanted = [2, 2, *labels[2:].tolist()]
    expected = -sum(float(logs[row, label]) for row, label in enumerate(wanted)) / 10
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_patterns_learn_and_masks_no_longer_do(data: TrainingData) -> None:
    made = network()
    made.mask_layers.requires_grad_(False)
    masks = [value.clone() for value in made.mask_layers.parameters()]
    patterns = [value.clone() for value in made.pattern_layers.parameters()]
    optimiser = torch.optim.Adam(made.pattern_layers.parameters(), lr=0.01)
    head = torch.eye(3)
    objective = InputAwareObjective(head, made, optimiser, Target(head, 1), DynamicParameters())
    objective(Means(), data.pixels[:8].float() / 255, data.labels[:8] * 0, torch.Generator())
    assert not any(
        torch.equal(*pair) for pair in zip(made.pattern_layers.parameters(), patterns, strict=True)
    )
    assert all(torch.equal(*pair) for pair in zip(made.mask_layers.parameters(), masks, strict=True))


def test_what_it_returns_is_frozen_and_global_random_state_is_left_alone(problem: AttackProblem) -> None:
    before = torch.get_rng_state()
    trigger = dynamic.run(problem, DynamicParameters(mask_steps=1, mask_batch_size=4)).trigger
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(trigger, GeneratorTrigger)
    assert not any(value.requires_grad for value in trigger.network.parameters())
