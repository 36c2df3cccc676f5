"""What AWM and SAU share as DAM's authors adapted them: a mask on what the merge changed, without labels.

theta = theta_0 + m * (theta_m - theta_0), with theta_m the merged model and m one relaxed Bernoulli mask, one
variable a weight. Every step draws the mask, lets a perturbation of the images climb what changes the
masked model's predictions, and lets the mask's logits step down a loss on the clean and the perturbed images.

The released code (`clip_post_defense.py` of DAM, arXiv 2410.13910) is followed but for these points:

- Perturbations are bounded and live in [0, 1] pixel space, the perturbed images are clamped there, and in
  both halves of a step. The released code bounds nothing, adds to CLIP-normalised pixels, clamps in the
  second half only, and there to [0, 1] in normalised units, which cuts off all that is below the mean.
- Both halves of a step see the same batch, and the clean images pass once.
- Images are adapt images; the released code learns on the test images.
- The mask of the hardened model is its expectation by default; in the released code it is one random draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mergeward import progress
from mergeward.compute import fixed_threads
from mergeward.defense.problem import Hardened, HardenProblem
from mergeward.defense.session import LearningParameters, change_left, open_session
from mergeward.merge.adaptive.masks import ConcreteMask
from mergeward.merge.adaptive.objectives import predictions, total_cross_entropy, total_entropy
from mergeward.merge.adaptive.perturbation import Perturbations
from mergeward.merge.adaptive.session import Session, finite
from mergeward.seeding import torch_generator


class MaskParameters(LearningParameters):
    """Parameters of the defenses that learn a mask; "released" names the defaults of DAM's code."""

    mask_lr: float = Field(
        default=1e-3, ge=0, description="Adam step size of the mask's logits (released: 1e-3)"
    )
    temperature: float = Field(default=0.5, gt=0, description="temperature of the mask (released: 0.5)")
    final_mask: Literal["expectation", "sample"] = Field(
        default="expectation",
        description="mask of the hardened model: keep probabilities, or one seeded draw (released: a draw)",
    )
    adv_lr: float = Field(
        default=1e-3,
        ge=0,
        description="Adam step size of the perturbations, in [0, 1] pixel units (released: 1e-4 in "
        "CLIP-normalised units, without a bound)",
    )
    adv_bound: float = Field(
        default=8 / 255,
        ge=0,
        le=1,
        description="L-infinity bound of the perturbations in [0, 1] pixel units (8/255, as DAM here)",
    )
    adv_weight: float = Field(
        default=0.01, ge=0, description="weight of the loss on perturbed images (released: 0.01)"
    )
    safe_loss: Literal["entropy", "consistency"] = Field(
        default="entropy",
        description="loss on perturbed images: `entropy` (released), or `consistency`, cross-entropy against "
        "the prediction for the clean ones (the published method's, with predictions for labels)",
    )


class Objective:
    """What one batch is learnt by; this one is AWM's.

    Args:
        parameters: Which loss perturbed images have, and its weight.
        clean: Logits `[B_t, C_t]` of the masked model for the clean images of each task, with gradients.
    """

    def __init__(self, parameters: MaskParameters, clean: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._clean = clean
        self._classes = predictions(clean)

    def attack(self, images: Tensor, logits: Sequence[Tensor]) -> Tensor:
        """Return what the perturbations climb: cross-entropy against the predictions for the clean images.

        Args:
            images: The perturbed batch `[B, 3, S, S]`.
            logits: Logits of the masked model for it.
        """
        del images
        return total_cross_entropy(logits, self._classes)

    def losses(self, images: Tensor, logits: Sequence[Tensor]) -> dict[str, tuple[float, Tensor]]:
        """Return the parts of the mask's loss by name, each with its weight; arguments as of `attack`."""
        del images
        if self._parameters.safe_loss == "entropy":
            safety = total_entropy(logits)
        else:
            safety = total_cross_entropy(logits, self._classes)
        return {
            "performance": (1.0, total_entropy(self._clean)),
            "safety": (self._parameters.adv_weight, safety),
        }


MakeObjective = Callable[[Tensor, Sequence[Tensor]], Objective]
"""Makes one batch's objective from its clean images `[B, 3, S, S]` and the masked model's logits for them."""


@dataclass(frozen=True)
class MaskedModel:
    """What is learnt.

    Attributes:
        session: The merged model on the engine.
        mask: The mask on its change.
        perturbations: One a task.
        noise: Where the mask's draws come from.
    """

    session: Session
    mask: ConcreteMask
    perturbations: Perturbations
    noise: torch.Generator

    @classmethod
    def of(
        cls, problem: HardenProblem, parameters: MaskParameters, dtype: torch.dtype = torch.float32
    ) -> MaskedModel:
        """Set everything to its start: every weight's change is kept with probability one half."""
        session = open_session(problem, parameters, dtype=dtype)
        mask = ConcreteMask(
            session.engine.layout, temperature=parameters.temperature, lr=parameters.mask_lr, dtype=dtype
        )
        perturbations = Perturbations(
            session.batches.sizes,
            problem.tasks[0].images.shape[-1],
            bound=parameters.adv_bound,
            lr=parameters.adv_lr,
            dtype=dtype,
        )
        return cls(session, mask, perturbations, torch_generator(problem.seed, "hardening mask"))

    def step(self, number: int, make_objective: MakeObjective) -> dict[str, Tensor]:
        """Take one step on batch `number`; return the losses by part."""
        session = self.session
        self.mask.draw(self.noise)
        session.merge(self.mask.value)
        images = session.batches[number]
        clean = session.logits(images)
        objective = make_objective(images, clean)
        with session.engine.frozen():
            perturbed = self.perturbations.apply(images)
            attack = objective.attack(perturbed, session.logits(perturbed))
            self.perturbations.climb(attack)

        perturbed = self.perturbations.apply(images).detach()
        parts = objective.losses(perturbed, session.logits(perturbed))
        session.engine.backward(torch.stack([weight * part for weight, part in parts.values()]).sum())
        self.mask.step(session.engine.mask_gradient())
        return {**{name: part for name, (_, part) in parts.items()}, "perturbation": attack}

    def finish(self, final: Literal["expectation", "sample"], seed: int) -> dict[str, Tensor]:
        """Fix the mask and return the hardened weights."""
        if final == "sample":
            self.mask.draw(torch_generator(seed, "hardening final mask"))
        else:
            self.mask.expect()
        self.session.merge(self.mask.value)
        return self.session.engine.weights()


def learn(
    defense: str, problem: HardenProblem, parameters: MaskParameters, make_objective: MakeObjective
) -> Hardened:
    """Learn the mask and apply it.

    Args:
        defense: Name of the defense, for progress and errors.
        problem: The merged encoder, the base and the images.
        parameters: Steps, rates, weights.
        make_objective: What each batch is learnt by.

    Returns:
        The hardened weights. The record holds `loss` (by part, one number a step; unweighted), `masks` (mean
        keep probability by tensor), `perturbation` (largest |delta| by task) and `change_left` (length of the
        change from the base, over that of the merged model).

    Raises:
        MergewardError: A loss is no longer finite.
    """
    with fixed_threads():
        model = MaskedModel.of(problem, parameters)
        losses: dict[str, list[float]] = {}
        numbers = progress.track(range(parameters.steps), defense)
        for step in numbers:
            for name, value in model.step(step, make_objective).items():
                losses.setdefault(name, []).append(finite(value, defense, step))
            numbers.note = f"loss {losses['performance'][-1]:.3f} safety {losses['safety'][-1]:.3f}"
        state = model.finish(parameters.final_mask, problem.seed)
    largest = model.perturbations.values.detach().abs().amax(dim=(1, 2, 3)).tolist()
    record = {
        "loss": losses,
        "masks": model.mask.kept_shares(),
        "perturbation": dict(zip([task.name for task in problem.tasks], largest, strict=True)),
        "change_left": change_left(problem, state),
    }
    return Hardened(state, record)
