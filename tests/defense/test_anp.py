"""ANP on layer normalisation against the same written down plainly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from mergeward.defense import HardenProblem
from mergeward.defense.anp import AnpParameters, PruningState, run
from mergeward.merge.adaptive.batches import Batches
from mergeward.seeding import torch_generator
from plain_mask import cross_entropy

NORMS = (
    "vision_model.pre_layrnorm",
    "vision_model.encoder.layers.0.layer_norm1",
    "vision_model.encoder.layers.0.layer_norm2",
    "vision_model.encoder.layers.1.layer_norm1",
    "vision_model.encoder.layers.1.layer_norm2",
    "vision_model.post_layernorm",
)
WIDTH = 16


def parameters(**changes: object) -> AnpParameters:
    return AnpParameters(**{"steps": 3, "batch_size": 4, **changes})


class PlainPruning:
    """The masks of ANP with autograd and torch.optim, in float64."""

    def __init__(self, problem: HardenProblem, asked: AnpParameters) -> None:
        self.problem, self.asked, self.merged = problem, asked, problem.merged()
        found = [name for name in self.merged if "norm" in name and name.endswith(".weight")]
        assert {name.removesuffix(".weight") for name in found} == set(NORMS)
        self.names = [
            name.removesuffix(".weight") for name, _ in problem.encoder.named_modules() if name in NORMS
        ]
        self.masks = torch.ones(len(self.names), WIDTH, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.masks], lr=asked.lr, momentum=asked.momentum)
        self.batches = Batches(problem.tasks, asked.batch_size, problem.seed, torch.float64)
        self.noise = torch_generator(problem.seed, "anp adversary")

    def logits(self, images: Tensor, gains: Tensor, biases: Tensor) -> list[Tensor]:
        weights = dict(self.merged)
        for place, name in enumerate(self.names):
            weights[f"{name}.weight"] = weights[f"{name}.weight"] * gains[place]
            weights[f"{name}.bias"] = weights[f"{name}.bias"] * biases[place]
        features = functional_call(self.problem.encoder, weights, (images,)).split(list(self.batches.sizes))
        return [part @ task.head.double().T for part, task in zip(features, self.problem.tasks, strict=True)]

    def step(self, number: int) -> None:
        images, bound = self.batches[number], self.asked.epsilon
        ones = torch.ones_like(self.masks)
        classes = [task.argmax(-1) for task in self.logits(images, ones, ones)]
        start = torch.empty(2, self.masks.numel(), dtype=torch.float64)
        start.uniform_(-bound, bound, generator=self.noise)
        changes = start.view(2, *self.masks.shape).requires_grad_()
        for _ in range(self.asked.inner_steps):
            loss = cross_entropy(self.logits(images, self.masks + changes[0], 1 + changes[1]), classes)
            (gradient,) = torch.autograd.grad(loss, [changes])
            moved = changes.detach() + bound / self.asked.inner_steps * gradient.sign()
            changes = moved.clamp(-bound, bound).requires_grad_()
        changes = changes.detach()
        natural = cross_entropy(self.logits(images, self.masks, ones), classes)
        robust = cross_entropy(self.logits(images, self.masks + changes[0], 1 + changes[1]), classes)
        self.optimizer.zero_grad()
        (self.asked.alpha * natural + (1 - self.asked.alpha) * robust).backward()
        self.optimizer.step()
        with torch.no_grad():
            self.masks.clamp_(0, 1)


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_three_steps_agree_with_autograd(double: HardenProblem, inner_steps: int) -> None:
    asked = parameters(inner_steps=inner_steps, lr=0.05)
    state, plain = PruningState.of(double, asked, torch.float64), PlainPruning(double, asked)
    for step in range(3):
        state.step(step, asked)
        plain.step(step)
    assert list(state.neurons.widths) == plain.names
    expected = plain.masks.detach().flatten()
    assert bool((expected < 1).any())
    torch.testing.assert_close(state.masks.values, expected)


def test_small_masks_are_pruned_and_nothing_else(problem: HardenProblem) -> None:
    asked = parameters(lr=0.5, threshold=0.9)
    state = PruningState.of(problem, asked)
    for step in range(3):
        state.step(step, asked)
    small = (state.masks.values < 0.9).view(len(NORMS), WIDTH)
    assert 0 < int(small.sum()) < small.numel()
    hardened = run(problem, asked)
    for name, value in problem.merged().items():
        expected = value.clone()
        layer = name.removesuffix(".weight")
        if layer in NORMS:
            place = list(state.neurons.widths).index(layer)
            expected[small[place]] = 0
            assert hardened.record["pruned"][layer] == {"pruned": int(small[place].sum()), "of": WIDTH}
        assert torch.equal(hardened.state[name], expected), name


def test_without_steps_nothing_is_pruned(problem: HardenProblem) -> None:
    hardened = run(problem, parameters(steps=0))
    assert all(torch.equal(hardened.state[name], value) for name, value in problem.merged().items())
    assert list(hardened.record["pruned"]) == list(PruningState.of(problem, parameters()).neurons.widths)
    assert {entry["pruned"] for entry in hardened.record["pruned"].values()} == {0}


def test_the_adversary_raises_the_loss(problem: HardenProblem) -> None:
    loss = run(problem, parameters(lr=0)).record["loss"]
    assert all(robust > natural for robust, natural in zip(loss["robust"], loss["natural"], strict=True))
    assert len(loss["natural"]) == 3
