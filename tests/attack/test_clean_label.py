"""Label-consistent and SIG: no label changes, and no image of another class."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mergeward.attack import AttackProblem, Backdoored, label_consistent, sig
from mergeward.attack.label_consistent import LabelConsistentParameters
from mergeward.attack.sig import SigParameters, stripes
from mergeward.train import TrainingData

TARGET = 1


def poisoned(
    module: ModuleType, problem: AttackProblem, parameters: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[TrainingData, Backdoored]:
    """What the last fine-tune was given, and what came of it."""
    seen: list[TrainingData] = []
    real: Callable[..., Any] = module.finetune

    def watched(encoder: Any, data: TrainingData, *rest: Any, **named: Any) -> Any:
        seen.append(data)
        return real(encoder, data, *rest, **named)

    monkeypatch.setattr(module, "finetune", watched)
    made = module.run(problem, parameters)
    return seen[-1], made


CASES = {
    "label_consistent": (label_consistent, LabelConsistentParameters(steps=3, poison_rate=0.5)),
    "label_consistent, clean surrogate": (
        label_consistent,
        LabelConsistentParameters(steps=1, poison_rate=0.5, surrogate="clean"),
    ),
    "sig": (sig, SigParameters(poison_rate=0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_half_of_the_target_classs_images_change_and_nothing_else(
    case: str, problem: AttackProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, parameters = CASES[case]
    data, made = poisoned(module, problem, parameters, monkeypatch)
    assert torch.equal(data.labels, problem.data.labels)
    changed = (data.pixels != problem.data.pixels).flatten(1).any(1)
    assert set(problem.data.labels[changed].tolist()) == {TARGET}
    assert int(changed.sum()) == round(0.5 * int((problem.data.labels == TARGET).sum()))
    images = data.pixels[changed].float() / 255
    if module is label_consistent:  # a patch pasted twice is pasted once
        torch.testing.assert_close(made.trigger.apply(images), images)


def test_beside_the_patches_the_change_is_bounded(
    problem: AttackProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = LabelConsistentParameters(steps=4, step=0.02, epsilon=0.05, poison_rate=1.0)
    data, made = poisoned(label_consistent, problem, parameters, monkeypatch)
    outside = ~made.trigger.footprint.bool().expand_as(data.pixels)
    change = (data.pixels.float() - problem.data.pixels.float()).abs()[outside] / 255
    assert 0.04 < float(change.max()) <= 0.05 + 0.5 / 255 + 1e-6


def test_the_surrogate_decides_the_perturbation(
    problem: AttackProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero_shot, clean = (
        poisoned(label_consistent, problem, LabelConsistentParameters(steps=3, surrogate=kind), monkeypatch)[
            0
        ]
        for kind in ("zero-shot", "clean")
    )
    assert not torch.equal(zero_shot.pixels, clean.pixels)


@pytest.mark.parametrize(("size", "frequency"), [(16, 6.0), (32, 3.5)])
def test_the_stripe_is_the_papers_sine(size: int, frequency: float) -> None:
    wave = [0.1 * math.sin(2 * math.pi * column * frequency / size) for column in range(size)]
    expected = np.broadcast_to(np.array(wave), (3, size, size))
    np.testing.assert_allclose(stripes(size, 0.1, frequency).difference, expected, atol=1e-6)


def test_the_stripe_is_added_and_clipped(problem: AttackProblem) -> None:
    images = problem.data.pixels[:4].float() / 255
    trigger = stripes(16, 0.2, 6.0)
    assert torch.equal(trigger.apply(images), (images + trigger.difference).clamp(0, 1))
