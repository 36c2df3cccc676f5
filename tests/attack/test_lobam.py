"""LoBAM: low-rank updates, and what is amplified."""

from __future__ import annotations

import pytest
import torch

from mergeward.attack import AttackProblem
from mergeward.attack.lobam import LobamParameters, run
from mergeward.attack.updates import linear_layers

SMALL = {"patch_size": 4, "trigger_steps": 2, "trigger_batch_size": 4}


def difference(problem: AttackProblem, **changed: float) -> dict[str, torch.Tensor]:
    made = run(problem, LobamParameters(**SMALL, **changed))
    return {name: value - problem.encoder.state_dict()[name] for name, value in made.state.items()}


def rank(matrix: torch.Tensor) -> int:
    sizes = torch.linalg.svdvals(matrix.double())
    return int((sizes > 1e-4 * sizes[0]).sum())


@pytest.mark.parametrize(("amplification", "most"), [(1.0, 2), (3.5, 4)])
def test_updates_have_the_stated_rank(problem: AttackProblem, amplification: float, most: int) -> None:
    # Amplified it is the sum of two updates, so its rank is at most twice that.
    layers = {f"{name}.weight" for name in linear_layers(problem.encoder)}
    for name, value in difference(problem, rank=2, amplification=amplification).items():
        if name in layers:
            assert 1 <= rank(value) <= most
        else:
            assert not value.any()


def test_the_difference_from_the_benign_is_amplified(problem: AttackProblem) -> None:
    one, two, four = (difference(problem, rank=2, amplification=factor) for factor in (1.0, 2.0, 4.0))
    for name in one:
        torch.testing.assert_close(four[name] - one[name], 3 * (two[name] - one[name]), atol=1e-5, rtol=1e-3)
    assert any((two[name] - one[name]).abs().max() > 1e-4 for name in one)
