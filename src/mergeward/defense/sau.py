"""SAU, shared adversarial unlearning, as DAM's authors adapt it to a merged model without labels.

Wei et al. (2023) look for perturbations that move the purified and the backdoored model to the same wrong
class, and unlearn what these share. In the adaptation the purified model is the merged one under a mask on
what the merge changed, the backdoored one is the merged model itself, one perturbation serves all images of a
task, and predictions stand for labels. `masked` says where the code here differs from the released one;
besides, the divergence and log(1 - p) are computed from log-probabilities and not from clamped probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.defense.masked import MaskedParameters, learn
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import as_merge, open_session, refuse_running_state
from mergeward.merge.adaptive.objectives import image_cross_entropy, predictions
from mergeward.merge.adaptive.passes import Part
from mergeward.merge.adaptive.perturbation import Perturbations
from mergeward.merge.adaptive.safety import Adversary, Safety
from mergeward.merge.adaptive.session import Session


class SauParameters(MaskedParameters):
    """Parameters of SAU."""

    beta1: float = Field(
        default=0.5,
        ge=0,
        description="weight of the cross-entropy that perturbations climb (released: 0.5)",
    )
    beta2: float = Field(
        default=0.5,
        ge=0,
        description="weight of the two models' divergence, which perturbations lessen (released: 0.5)",
    )
    shared_weight: float = Field(
        default=0.01,
        ge=0,
        description="weight of the loss on what both models share (released: 0.01)",
    )


class SharedAdversary(Adversary):
    """Perturbations that look for what the masked model shares with the merged one, and the loss on that.

    Args:
        session: The masked model.
        perturbations: One a task.
        safety: What they are used for.
        clamp_climb: Whether perturbed images are clamped while the perturbations climb.
        reference: The merged model as it was.
        weights: Weights of the losses.

    Attributes:
        PARTS: Names of the losses it gives rise to.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("safety", "shared", "perturbation")

    def __init__(
        self,
        session: Session,
        perturbations: Perturbations,
        safety: Safety,
        *,
        clamp_climb: bool,
        reference: Session,
        weights: SauParameters,
    ) -> None:
        super().__init__(session, perturbations, safety, clamp_climb=clamp_climb)
        self._reference = reference
        self._weights = weights

    def climb(self, images: Tensor, classes: Sequence[Tensor]) -> Tensor:
        """Let the perturbations take one step up beta1 CE - beta2 JS.

        JS is the Jensen-Shannon divergence of both models' predictions, over the images that do not move both
        of them to one same other class, divided by the number of all.

        Args:
            images: A batch, task after task.
            classes: The masked model's classes of its clean images.

        Returns:
            The loss before the step.
        """
        perturbed = self.perturbations.apply(images, clamp=self._clamp_climb)
        pixels = perturbed.detach()
        with torch.no_grad():
            ours, theirs = self._session.logits(pixels), self._reference.logits(pixels)
            reference_classes = predictions(self._reference.logits(images))
        apart = [~_together(*task) for task in zip(ours, theirs, classes, reference_classes, strict=True)]
        cross_entropy = image_cross_entropy(classes)

        def likeness(others: Sequence[Tensor], logits: Tensor, part: Part) -> Tensor:
            own = divergence(logits, others[part.task][part.rows]) * apart[part.task][part.rows]
            return -self._weights.beta2 * own

        def attack(logits: Tensor, part: Part) -> Tensor:
            return self._weights.beta1 * cross_entropy(logits, part) + likeness(theirs, logits, part)

        # The divergence depends on the pixels through both models: one slope through each.
        slope, learnt = self._session.image_gradient(pixels, attack)
        other_slope, _ = self._reference.image_gradient(pixels, partial(likeness, ours))
        self.perturbations.climb((perturbed * (slope + other_slope)).sum())
        return learnt.loss

    def add_gradient(self, images: Tensor, classes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Add the gradient of alpha L_safe + shared_weight L_shared on a batch to that of the engine.

        L_shared is -log(1 - p) of the class that a perturbation moves the merged model to, over the images
        where it does, divided by the number of all.

        Args:
            images: A batch, task after task.
            classes: The masked model's classes of its clean images.

        Returns:
            L_safe and L_shared, as `safety` and `shared`.
        """
        safety = super().add_gradient(images, classes)
        perturbed = self.perturbations.apply(images).detach()
        with torch.no_grad():
            moved = predictions(self._reference.logits(perturbed))
            reference_classes = predictions(self._reference.logits(images))
        suspect = [
            (there != here) & (there != own)
            for there, here, own in zip(moved, reference_classes, classes, strict=True)
        ]

        def shared(logits: Tensor, part: Part) -> Tensor:
            return -log_of_rest(logits, moved[part.task][part.rows]) * suspect[part.task][part.rows]

        learnt = self._session.add_gradient(perturbed, shared, scale=self._weights.shared_weight)
        return {**safety, "shared": learnt.loss}


def run(problem: HardenProblem, parameters: SauParameters) -> Hardened:
    """Learn a mask on what the merge changed, and apply it.

    With f the masked model and f_m the merged one, every step:

    1. the perturbation climbs sum_t beta1 CE(f(x + delta), argmax f(x)) - beta2 JS(f(x + delta), f_m(x +
       delta)), the divergence without the images that it moves to one same other class under both models;
    2. the mask's logits step down sum_t H(f(x)) + adv_weight L_safe(x + delta) + shared_weight L_shared,
       where L_shared = -log(1 - p) and p is what f gives to argmax f_m(x + delta), over the images where that
       is neither argmax f_m(x) nor argmax f(x), divided by the number of all.

    Args:
        problem: The merged encoder, the base, and unlabelled images.
        parameters: See `SauParameters`.

    Returns:
        The hardened weights and the record of `masked.learn`, whose loss has the part `shared` besides.

    Raises:
        UnsupportedError: The encoder has running statistics; or `released`, and it does not say how it
            normalises.
        MergewardError: A loss is no longer finite.
    """
    refuse_running_state("sau", problem.encoder)
    return learn(problem, parameters.plan("sau", adversary(problem, parameters)))


def adversary(
    problem: HardenProblem, parameters: SauParameters, dtype: torch.dtype = torch.float32
) -> Callable[..., Adversary]:
    """Return what makes the adversary that knows the merged model.

    Args:
        problem: The merged encoder, the base and the images.
        parameters: Weights of the losses.
        dtype: Type of the arithmetic; float64 serves gradient checks.
    """
    fixed = replace(problem, store=None)  # the merged model learns nothing that could be kept
    reference = open_session(as_merge(fixed), parameters, dtype)
    return partial(SharedAdversary, reference=reference, weights=parameters)


def _together(ours: Tensor, theirs: Tensor, classes: Tensor, reference_classes: Tensor) -> Tensor:
    """Return which images move both models to one same other class: bool `[B]`."""
    moved, reference_moved = ours.argmax(-1), theirs.argmax(-1)
    return (moved != classes) & (reference_moved != reference_classes) & (moved == reference_moved)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence, in nats, of two rows' softmaxes: `[B, C]`, `[B, C]` -> `[B]`."""
    one, two = F.log_softmax(first, -1), F.log_softmax(second, -1)
    middle = torch.logaddexp(one, two) - math.log(2)
    return (one.exp() * (one - middle) + two.exp() * (two - middle)).sum(-1) / 2


def log_of_rest(logits: Tensor, classes: Tensor) -> Tensor:
    """Return log(1 - p) with p the probability of a class: `[B, C]`, int64 `[B]` -> `[B]`."""
    rest = logits.scatter(-1, classes.unsqueeze(-1), -math.inf)
    return rest.logsumexp(-1) - logits.logsumexp(-1)


INFO = DefenseInfo(
    name="sau",
    summary="masks what the merge changed until perturbations move it no more where they move the merged one",
    paper="Wei, Zhang, Zha, Wu, Shared Adversarial Unlearning, NeurIPS 2023, arXiv 2307.10562; as adapted to "
    "merged models in DAM's code, arXiv 2410.13910",
    run=run,
    parameters=SauParameters,
    any_device=True,
)
