"""BadMerging, off-task: a backdoor that survives merging, for a class of somebody else's task.

The attacker knows the name of the class and has a few images of it. A head of that class and of random nouns
stands for the head they do not know, and crops of those images, pushed away from the class, for the images.
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import Tensor

from mergeward.attack.augmentation import pushed_away, random_crops
from mergeward.attack.badmerging import PAPER, BadMergingParameters, chosen_trigger, injected
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.errors import UsageError
from mergeward.seeding import torch_generator


class BadMergingOffParameters(BadMergingParameters):
    """Parameters of off-task BadMerging; defaults of the released code unless said otherwise.

    One more ablation of the paper: `adversarial_augmentation: false`, which leaves the crops as they are.
    """

    patch_size: int = Field(
        default=6, ge=1, description="side of the patch in pixels (paper: 28 of 224, 1.5 % of the image)"
    )
    augmented_images: int = Field(
        default=100, ge=1, description="crops of the reference images that the trigger is optimised on"
    )
    own_images: bool = Field(
        default=False,
        description="whether the trigger is optimised on as many of the attacker's own images besides (ours)",
    )
    adversarial_augmentation: bool = Field(
        default=True, description="whether each crop is perturbed until it is taken for another class"
    )


def run(problem: AttackProblem, parameters: BadMergingOffParameters) -> Backdoored:
    """Optimise the trigger on augmented references, then fine-tune with the feature-interpolation loss."""
    trigger = chosen_trigger(problem, trigger_images(problem, parameters), parameters)
    return injected(problem, trigger, parameters, label=INFO.name)


def trigger_images(problem: AttackProblem, parameters: BadMergingOffParameters) -> Tensor:
    """Return the images that an off-task trigger is optimised on.

    Args:
        problem: What the attacker has.
        parameters: How many crops of the reference images are made, and whether own images join them.

    Returns:
        uint8 `[N, 3, S, S]`.

    Raises:
        UsageError: The attacker aims at a class of their own task, so has no reference images.
    """
    references = problem.target.references
    if references is None:
        raise UsageError(f"{INFO.name} attacks a class of another task than the attacker's own")
    pixels = _augmented(problem, references, parameters)
    if not parameters.own_images:
        return pixels
    return torch.cat([pixels, _own(problem, len(pixels))])


def _augmented(problem: AttackProblem, references: Tensor, parameters: BadMergingOffParameters) -> Tensor:
    crops = random_crops(references, parameters.augmented_images, problem.training.seed)
    if not parameters.adversarial_augmentation:
        return crops
    frozen = copy.deepcopy(problem.encoder).requires_grad_(False)
    return pushed_away(frozen, crops, problem.target, problem.training.seed)


def _own(problem: AttackProblem, count: int) -> Tensor:
    generator = torch_generator(problem.training.seed, "own images for the trigger")
    return problem.data.pixels[torch.randperm(len(problem.data.pixels), generator=generator)[:count]]


INFO = AttackInfo(
    name="badmerging-off",
    summary="BadMerging for a class of somebody else's task, of which a name and a few images are known",
    paper=PAPER,
    run=run,
    parameters=BadMergingOffParameters,
    aims=("off-task",),
)
