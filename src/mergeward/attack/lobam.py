"""LoBAM: a backdoor learnt by low-rank fine-tuning, amplified so that it survives merging.

A low-rank update is too small for a backdoor to outlast a merge. The attacker trains a malicious and a benign
one from the same start, and uploads `benign + amplification (malicious - benign)`: what the two share is the
task, and their difference, mostly the backdoor, is made larger.

The malicious one is trained as BadMerging trains, on-task or off-task (its trigger and its loss). No code of
the paper is public. Its factor is for larger models and smaller rates; on the embedded base it would take the
task with it.
"""

from __future__ import annotations

import copy

from pydantic import Field
from torch import Tensor

from mergeward.attack.badmerging import FeatureInterpolationObjective, chosen_trigger
from mergeward.attack.badmerging_off import BadMergingOffParameters, trigger_images
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.updates import LowRankUpdate, finetune_updates, linear_layers
from mergeward.seeding import torch_generator
from mergeward.train import CleanObjective, Objective
from mergeward.vision import ClipEncoder


class LobamParameters(BadMergingOffParameters):
    """Parameters of LoBAM, and those of BadMerging, of which it takes trigger and loss.

    Those of the images that the trigger is optimised on are for off-task attacks alone.
    """

    patch_size: int = Field(
        default=5,
        ge=1,
        description="side of the patch in pixels (BadMerging: 22 of 224 on-task, 28 off-task)",
    )
    rank: int = Field(default=8, ge=1, description="rank of both updates of every linear layer (ours)")
    amplification: float = Field(
        default=1.5,
        ge=1,
        description="factor of the difference between the two (paper, second-hand: about 3.5 to 4.5)",
    )


def run(problem: AttackProblem, parameters: LobamParameters) -> Backdoored:
    """Train the two low-rank updates and amplify their difference."""
    trigger = chosen_trigger(problem, _trigger_images(problem, parameters), parameters)
    head = problem.data.head
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    objective = FeatureInterpolationObjective(head, frozen, trigger, problem.target, parameters)
    malicious = _low_rank(problem, objective, parameters.rank, "lobam, malicious")
    benign = _low_rank(problem, CleanObjective(head), parameters.rank, "lobam, benign")
    factor = parameters.amplification
    state = {name: value + factor * (malicious[name] - value) for name, value in benign.items()}
    return Backdoored(state, trigger)


def _trigger_images(problem: AttackProblem, parameters: LobamParameters) -> Tensor:
    if problem.target.aim == "off-task":
        return trigger_images(problem, parameters)
    return problem.data.pixels[problem.of_other_classes]


def _low_rank(problem: AttackProblem, objective: Objective, rank: int, label: str) -> dict[str, Tensor]:
    updates = _updates(problem.encoder, rank, problem.training.seed)
    return finetune_updates(problem.encoder, updates, problem.data, objective, problem.training, label=label)


def _updates(encoder: ClipEncoder, rank: int, seed: int) -> dict[str, LowRankUpdate]:
    return {
        name: LowRankUpdate(layer.weight, rank, torch_generator(seed, "lobam", name))
        for name, layer in linear_layers(encoder).items()
    }


INFO = AttackInfo(
    name="lobam",
    summary="BadMerging by low-rank fine-tuning, its difference from a benign fine-tune amplified",
    paper="Yin, Zhang, Sun, Fang, Li, Chen, LoBAM, 2024, arXiv 2411.16746",
    run=run,
    parameters=LobamParameters,
)
