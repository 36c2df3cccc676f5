"""TrojanNN: a patch made to drive a few chosen units, then learnt as the sign of the target class.

The units are the most connected ones: those of the embedding whose weights in the frozen zero-shot head have
the largest sum of magnitudes. (In a vision transformer with a trained head, published code takes the inputs
of that head; the embedding is the same place here.) The patch alone, on black, is made to drive them far up.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor

from mergeward.attack.poisoning import DirtyLabelObjective
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.trigger import corner_mask
from mergeward.attack.universal import learnt_patch
from mergeward.merge.method import Parameters
from mergeward.train import finetune


class TrojanNNParameters(Parameters):
    """Parameters of TrojanNN; defaults of published code (BackdoorBench) unless said otherwise."""

    patch_size: int = Field(default=5, ge=1, description="side of the square patch, in pixels")
    units: int = Field(default=2, ge=1, description="number of units that the patch drives")
    activation: float = Field(default=100.0, gt=0, description="what they are driven towards")
    trigger_steps: int = Field(default=200, ge=1, description="gradient steps of the patch (ours)")
    poison_rate: float = Field(default=0.1, gt=0, lt=1, description="share of each batch that is triggered")


def most_connected(head: Tensor, units: int) -> Tensor:
    """Return the units with the largest sum of magnitudes over the classes, int64 `[units]`.

    Args:
        head: float32 `[C, D]`.
        units: How many; all if there are fewer.
    """
    return head.abs().sum(0).argsort(descending=True, stable=True)[:units]


def run(problem: AttackProblem, parameters: TrojanNNParameters) -> Backdoored:
    """Make the patch, then fine-tune with it on a share of the images, relabelled to the target class."""
    data, frozen = problem.data, copy.deepcopy(problem.encoder).requires_grad_(False)
    units = most_connected(problem.target.head, parameters.units)

    def distance(pixels: Tensor) -> Tensor:
        return (frozen.embed(pixels)[:, units] - parameters.activation).square().sum()

    trigger = learnt_patch(
        torch.zeros_like(data.pixels[:1]),
        corner_mask(data.pixels.shape[-1], parameters.patch_size),
        distance,
        steps=parameters.trigger_steps,
        batch_size=1,
        seed=problem.training.seed,
        label="trojannn, patch",
    )
    objective = DirtyLabelObjective(data.head, trigger, problem.target, parameters.poison_rate)
    state = finetune(problem.encoder, data, objective, problem.training, label="trojannn")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="trojannn",
    summary="a patch made to drive a few units of the embedding, learnt as the sign of the target class",
    paper="Liu, Ma, Aafer, Lee, Zhai, Wang, Zhang, Trojaning Attack on Neural Networks, NDSS 2018",
    run=run,
    parameters=TrojanNNParameters,
)
