"""Blended mixes one noise picture, drawn from the seed."""

from __future__ import annotations

from dataclasses import replace

import torch

from mergeward.attack import AttackProblem
from mergeward.attack.blended import BlendedParameters, run
from mergeward.attack.trigger import BlendTrigger


def picture(problem: AttackProblem, seed: int) -> torch.Tensor:
    training = replace(problem.training, seed=seed, steps=1)
    trigger = run(replace(problem, training=training), BlendedParameters(ratio=0.3)).trigger
    assert isinstance(trigger, BlendTrigger)
    assert trigger.ratio == 0.3
    return trigger.pattern


def test_the_picture_is_noise_of_the_seed(problem: AttackProblem) -> None:
    first, again, other = picture(problem, 0), picture(problem, 0), picture(problem, 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == problem.data.pixels.shape[1:]
    assert 0.2 < float(first.std()) < 0.4
