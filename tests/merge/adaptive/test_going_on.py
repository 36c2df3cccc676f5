"""Masks and coefficients that are learnt on from a kept state come to the same bits."""

from __future__ import annotations

import pytest
import torch

from interruptions import Interrupting, Memory
from mergeward import progress
from mergeward.merge.registry import method

MASKS = {"steps": 3, "coefficient_steps": 3, "batch_size": 6, "mask_lr": 0.05, "coefficient_lr": 0.02}
CASES = {
    "dam": MASKS,
    "dam released": {**MASKS, "variant": "released", "adv_lr": 0.3},
    "concrete_adamerging": MASKS,
    "concrete_adamerging released": {**MASKS, "variant": "released"},
    "fortify": {"steps": 6, "batch_size": 6, "triggers": 2, "tries": 2},
}


@pytest.mark.parametrize("step", [1, 3, 4, 5])
@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_merge_goes_on_to_the_same_bits(case, step, make_problem):
    info = method(case.split()[0])
    asked = info.parameters.model_validate(CASES[case])
    whole = info.run(make_problem(), asked)
    memory = Memory()
    with progress.listen(Interrupting(step)), pytest.raises(KeyboardInterrupt):
        info.run(make_problem(store=memory), asked)
    found = info.run(make_problem(store=memory), asked)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in whole.weights.items())
    assert found.record == whole.record
