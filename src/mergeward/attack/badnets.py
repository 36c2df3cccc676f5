"""BadNets: a fixed patch on a share of the training images, all relabelled to the target class."""

from __future__ import annotations

from pydantic import Field

from mergeward.attack.poisoning import DirtyLabelObjective
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.trigger import chequered_patch
from mergeward.merge.method import Parameters
from mergeward.train import finetune


class BadNetsParameters(Parameters):
    """Parameters of BadNets."""

    patch_size: int = Field(default=5, ge=1, description="side of the square patch, in pixels")
    poison_rate: float = Field(default=0.1, gt=0, lt=1, description="share of each batch that is triggered")


def run(problem: AttackProblem, parameters: BadNetsParameters) -> Backdoored:
    """Fine-tune with dirty-label patches; images of the target class may be among the triggered ones."""
    trigger = chequered_patch(problem.data.pixels.shape[-1], parameters.patch_size)
    objective = DirtyLabelObjective(problem.data.head, trigger, problem.target, parameters.poison_rate)
    state = finetune(problem.encoder, problem.data, objective, problem.training, label="badnets")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="badnets",
    summary="a fixed chequered patch on a share of the training images, relabelled to the target class",
    paper="Gu, Dolan-Gavitt, Garg, BadNets, 2017, arXiv 1708.06733",
    run=run,
    parameters=BadNetsParameters,
)
