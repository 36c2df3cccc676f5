"""Blended: a picture mixed faintly into a share of the training images, all relabelled to the target class.

The paper's picture is a cartoon; here it is noise drawn from the seed.
"""

from __future__ import annotations

import torch
from pydantic import Field

from mergeward.attack.poisoning import DirtyLabelObjective
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.trigger import BlendTrigger
from mergeward.merge.method import Parameters
from mergeward.seeding import torch_generator
from mergeward.train import finetune


class BlendedParameters(Parameters):
    """Parameters of Blended; defaults of the paper."""

    ratio: float = Field(default=0.2, gt=0, le=1, description="share of the picture in a triggered image")
    poison_rate: float = Field(default=0.1, gt=0, lt=1, description="share of each batch that is triggered")


def run(problem: AttackProblem, parameters: BlendedParameters) -> Backdoored:
    """Fine-tune with blended images; images of the target class may be among the triggered ones."""
    data, generator = problem.data, torch_generator(problem.training.seed, "blended")
    picture = torch.rand(data.pixels.shape[1:], generator=generator)
    trigger = BlendTrigger(picture, parameters.ratio)
    objective = DirtyLabelObjective(data.head, trigger, problem.target, parameters.poison_rate)
    state = finetune(problem.encoder, data, objective, problem.training, label="blended")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="blended",
    summary="noise mixed faintly into a share of the training images, relabelled to the target class",
    paper="Chen, Liu, Li, Lu, Song, Targeted Backdoor Attacks, 2017, arXiv 1712.05526",
    run=run,
    parameters=BlendedParameters,
)
