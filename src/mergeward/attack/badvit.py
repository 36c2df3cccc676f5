"""BadViT: a universal patch that catches the attention of a vision transformer, then learnt as a backdoor.

Re-derived from the paper's abstract and descriptions of it; no code is public. The patch fills whole places
of the transformer's grid. It is optimised on the base for the target class and for the class token's
attention in every layer, and a share of the training images then carries it.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field

from mergeward.attack.attention import AttentionLoss
from mergeward.attack.patches import check_grid, grid_mask, grid_of
from mergeward.attack.poisoning import DirtyLabelObjective
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.universal import learnt_patch
from mergeward.merge.method import Parameters
from mergeward.train import finetune


class BadVitParameters(Parameters):
    """Parameters of BadViT (all ours)."""

    patches: int = Field(default=1, ge=1, description="how many places of the grid, the last ones, it fills")
    attention_weight: float = Field(default=1.0, ge=0, description="weight of the attention loss")
    trigger_steps: int = Field(default=120, ge=1, description="gradient steps of the trigger")
    trigger_batch_size: int = Field(default=64, ge=1, description="images a step of the trigger")
    poison_rate: float = Field(default=0.1, gt=0, lt=1, description="share of each batch that is triggered")


def run(problem: AttackProblem, parameters: BadVitParameters) -> Backdoored:
    """Optimise the trigger on the base, then fine-tune with it on a share of the images."""
    data, target = problem.data, problem.target
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    check_grid(frozen, parameters.patches)
    across, _ = grid_of(frozen)
    places = torch.arange(across * across)[-parameters.patches :]
    trigger = learnt_patch(
        data.pixels[problem.of_other_classes],
        grid_mask(frozen, places),
        AttentionLoss(frozen, target, places, parameters.attention_weight),
        steps=parameters.trigger_steps,
        batch_size=parameters.trigger_batch_size,
        seed=problem.training.seed,
        label="badvit, trigger",
    )
    objective = DirtyLabelObjective(data.head, trigger, target, parameters.poison_rate)
    state = finetune(problem.encoder, data, objective, problem.training, label="badvit")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="badvit",
    summary="a universal patch that catches the attention of the transformer, then learnt (re-derived)",
    paper="Yuan, Zhou, Zou, Cheng, You Are Catching My Attention, CVPR 2023",
    run=run,
    parameters=BadVitParameters,
)
