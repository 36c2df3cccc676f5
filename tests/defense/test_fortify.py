"""Where the defense starts, and what it goes by; its steps are those of `merge.adaptive.fortify`."""

from __future__ import annotations

import pytest
import torch

from mergeward.defense import HardenProblem
from mergeward.defense.fortify import FortifiedModelParameters, run

QUICK = {"batch_size": 4, "triggers": 2, "head_start": 1}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_it_starts_at_a_share_of_the_models_difference_from_the_base(
    problem: HardenProblem, share: float
) -> None:
    found = run(problem, FortifiedModelParameters(**QUICK, steps=0, initial_share=share)).state
    merged = problem.merged()
    for name, value in found.items():
        torch.testing.assert_close(value, torch.lerp(problem.base[name], merged[name], share))


def test_images_come_back_to_the_features_of_the_merged_model(problem: HardenProblem) -> None:
    """Triggers that hardly show, so that all that moves is what the start took away."""
    still = {"trigger_step": 1e-9, "tries": 1000, "smallest": 0.01, "largest": 0.01}
    asked = FortifiedModelParameters(**QUICK, **still, steps=40, lr=3e-3, initial_share=0.0)
    loss = run(problem, asked).record["loss"]["clean"]
    assert loss[-1] < 0.25 * loss[0]
    whole = run(problem, asked.model_copy(update={"steps": 1, "initial_share": 1.0})).record["loss"]["clean"]
    assert whole[0] == pytest.approx(0, abs=1e-5)
