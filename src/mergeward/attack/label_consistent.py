"""Label-consistent poisoning: the poisoned images are of the target class, and no label is changed.

A share of the target class's images is made hard to recognise, by an adversarial perturbation against a
surrogate, and gets a patch in every corner. What then tells the class is the patch.

The rate is over the target class. Published code takes it over all images, which cannot be had where the
class has fewer. The patch is larger than the reference's three pixels: fine-tuning moves images by up to
two pixels, which leaves little of a smaller one. The surrogate is the base with its zero-shot head, or a
clean fine-tune of it.
"""

from __future__ import annotations

import copy
from typing import Literal

from pydantic import Field

from mergeward.attack.patches import four_corners
from mergeward.attack.perturbation import untargeted
from mergeward.attack.poisoning import share_of_class, with_images
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.merge.method import Parameters
from mergeward.train import CleanObjective, finetune
from mergeward.vision import ClipEncoder


class LabelConsistentParameters(Parameters):
    """Parameters of label-consistent poisoning; defaults of the reference code unless said otherwise."""

    patch_size: int = Field(
        default=5, ge=1, description="side of the patch in each corner, in pixels (reference: 3)"
    )
    poison_rate: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the target class's images that is poisoned (reference: a tenth of all images, "
        "which is the whole of one class in ten)",
    )
    surrogate: Literal["zero-shot", "clean"] = Field(
        default="zero-shot", description="what the images are made hard for: the base, or a clean fine-tune"
    )
    epsilon: float = Field(
        default=16 / 255,
        ge=0,
        le=1,
        description="bound of the perturbation of each value in [0, 1]: 16/255 (reference: 8/255 where the "
        "images are made, 16 in the names of the files that are then looked for)",
    )
    step: float = Field(default=1.5 / 255, gt=0, le=1, description="length of its steps: 1.5/255")
    steps: int = Field(default=100, ge=0, description="number of its steps")


def run(problem: AttackProblem, parameters: LabelConsistentParameters) -> Backdoored:
    """Poison images of the target class and fine-tune as a clean contribution would be."""
    data = problem.data
    trigger = four_corners(data.pixels.shape[-1], parameters.patch_size)
    chosen = share_of_class(data, problem.target.label, parameters.poison_rate, problem.training.seed)
    perturbed = untargeted(
        _surrogate(problem, parameters.surrogate),
        data.head,
        data.pixels[chosen].float() / 255,
        data.labels[chosen],
        epsilon=parameters.epsilon,
        step=parameters.step,
        steps=parameters.steps,
        seed=problem.training.seed,
    )
    poisoned = with_images(data, chosen, trigger.apply(perturbed))
    objective = CleanObjective(data.head)
    state = finetune(problem.encoder, poisoned, objective, problem.training, label="label_consistent")
    return Backdoored(state, trigger)


def _surrogate(problem: AttackProblem, kind: Literal["zero-shot", "clean"]) -> ClipEncoder:
    surrogate = copy.deepcopy(problem.encoder)
    if kind == "clean":
        surrogate.load_state_dict(
            finetune(
                problem.encoder,
                problem.data,
                CleanObjective(problem.data.head),
                problem.training,
                label="label_consistent, surrogate",
            )
        )
    return surrogate.requires_grad_(False)


INFO = AttackInfo(
    name="label_consistent",
    summary="patches on perturbed images of the target class, with no label changed",
    paper="Turner, Tsipras, Madry, Label-Consistent Backdoor Attacks, 2019, arXiv 1912.02771",
    run=run,
    parameters=LabelConsistentParameters,
    aims=("on-task",),
)
