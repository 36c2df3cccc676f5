"""One of several processes that learn DAM together on the toy problem; the first writes what they learnt."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import ToyEncoder, fill, problem_of
from mergeward.compute import fixed_threads
from mergeward.merge.adaptive import dam
from mergeward.merge.adaptive.mask_learning import MaskLearner
from mergeward.processes import joined, process_number

STEPS = 3


def learn() -> dict[str, torch.Tensor]:
    """Return everything that three steps of DAM learn, in float64."""
    asked = dam.DamParameters(batch_size=6, mask_lr=0.05, base_lr=0.02, alpha=0.7)
    learner = MaskLearner(problem_of(fill(ToyEncoder())), asked.plan, torch.float64)
    losses = [learner.alternate(step) for step in range(STEPS)]
    assert learner.adversary is not None
    return {
        "coefficients": learner.session.coefficients.by_tensor(),
        **{name: mask.logits for name, mask in learner.masks.items()},
        "perturbations": learner.adversary.perturbations.values.detach(),
        "losses": torch.stack([torch.stack(list(parts.values())) for parts in losses]),
    }


if __name__ == "__main__":
    with fixed_threads(1), joined(torch.device("cpu")):
        learnt = learn()
        if process_number() == 0:
            torch.save(learnt, sys.argv[1])
