"""TrojanNN: which units, and that the patch drives them."""

from __future__ import annotations

import torch

from mergeward.attack import AttackProblem
from mergeward.attack.trojannn import TrojanNNParameters, most_connected, run
from mergeward.vision import Clip


def test_units_with_the_largest_sum_of_magnitudes_are_chosen() -> None:
    head = torch.tensor([[1.0, -5.0, 0.0, 2.0], [1.0, 4.0, 0.0, -3.0]])
    assert most_connected(head, 2).tolist() == [1, 3]
    assert most_connected(head, 9).tolist() == [1, 3, 0, 2]


def test_the_patch_drives_its_units(clip: Clip, problem: AttackProblem) -> None:
    units = most_connected(problem.target.head, 2)

    def driven(steps: int) -> float:
        trigger = run(problem, TrojanNNParameters(patch_size=16, trigger_steps=steps)).trigger
        with torch.no_grad():
            features = clip.encoder.embed(trigger.apply(torch.zeros(1, 3, 16, 16)))
        return float(features[0, units].sum())

    assert driven(40) > driven(1) + 0.05
