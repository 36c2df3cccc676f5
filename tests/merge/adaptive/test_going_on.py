"""Masks and coefficients that are learnt on from a kept state come to the same bits."""

from __future__ import annotations

import pytest
import torch

from mergeward import progress
from mergeward.merge.adaptive.learning import Saved
from mergeward.merge.registry import method

MASKS = {"steps": 3, "coefficient_steps": 3, "batch_size": 6, "mask_lr": 0.05, "coefficient_lr": 0.02}
CASES = {
    "dam": MASKS,
    "dam released": {**MASKS, "variant": "released", "adv_lr": 0.3},
    "concrete_adamerging": MASKS,
    "concrete_adamerging released": {**MASKS, "variant": "released"},
    "fortify": {"steps": 6, "batch_size": 6, "triggers": 2, "tries": 2},
}


class Memory:
    """Keeps the state after every step."""

    def __init__(self):
        self.saved = None

    def load(self):
        return self.saved

    def due(self):
        return True

    def save(self, saved):
        tensors = {name: tensor.clone() for name, tensor in saved.tensors.items()}
        self.saved = Saved(
            tensors, {**saved.notes, "losses": {k: [*v] for k, v in saved.notes["losses"].items()}}
        )


class Interrupting:
    """Stops the work at one of its steps, before the state after it is kept."""

    def __init__(self, step):
        self.left = step

    def start(self, label, total, unit):
        return 0

    def advance(self, handle, amount, note):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def finish(self, handle):
        pass


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
