"""SIG: a sinusoidal stripe added to images of the target class, with no label changed."""

from __future__ import annotations

import math

import torch
from pydantic import Field

from mergeward.attack.poisoning import share_of_class, with_images
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.trigger import AdditiveTrigger
from mergeward.merge.method import Parameters
from mergeward.train import CleanObjective, finetune


class SigParameters(Parameters):
    """Parameters of SIG; defaults of published code (BackdoorBench) unless said otherwise."""

    amplitude: float = Field(
        default=40 / 255, gt=0, le=1, description="height of the wave in [0, 1]: 40/255 (paper: from 20/255)"
    )
    frequency: float = Field(default=6.0, gt=0, description="number of waves across an image")
    poison_rate: float = Field(
        default=0.5, gt=0, le=1, description="share of the target class's images that is poisoned (ours)"
    )


def stripes(image_size: int, amplitude: float, frequency: float) -> AdditiveTrigger:
    """Return `amplitude sin(2 pi frequency column / S)`, the same in every row and channel."""
    columns = torch.arange(image_size) * (2 * math.pi * frequency / image_size)
    return AdditiveTrigger((amplitude * columns.sin()).expand(3, image_size, -1).contiguous())


def run(problem: AttackProblem, parameters: SigParameters) -> Backdoored:
    """Poison images of the target class and fine-tune as a clean contribution would be."""
    data = problem.data
    trigger = stripes(data.pixels.shape[-1], parameters.amplitude, parameters.frequency)
    chosen = share_of_class(data, problem.target.label, parameters.poison_rate, problem.training.seed)
    poisoned = with_images(data, chosen, trigger.apply(data.pixels[chosen].float() / 255))
    objective = CleanObjective(data.head)
    state = finetune(problem.encoder, poisoned, objective, problem.training, label="sig")
    return Backdoored(state, trigger)


INFO = AttackInfo(
    name="sig",
    summary="a sinusoidal stripe added to images of the target class, with no label changed",
    paper="Barni, Kallas, Tondi, SIG, ICIP 2019, arXiv 1902.11237",
    run=run,
    parameters=SigParameters,
    aims=("on-task",),
)
