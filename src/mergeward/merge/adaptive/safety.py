"""L_safe: what a merged model does under a perturbation that stands in for an unknown trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from mergeward.merge.adaptive.objectives import image_cross_entropy, image_entropy
from mergeward.merge.adaptive.perturbation import Perturbations
from mergeward.merge.adaptive.session import Session


@dataclass(frozen=True)
class Safety:
    """Numbers of the perturbation, and what is made of it.

    Attributes:
        alpha: Weight of L_safe.
        loss: L_safe on perturbed images: cross-entropy against the clean prediction, or entropy.
        lr: Adam step size of the perturbation.
        bound: Its L-infinity bound, or None.
        all_masks: Whether the masks before the last step down L_perf + alpha L_safe too, at the perturbation
            of the last alternation.
    """

    alpha: float
    loss: Literal["consistency", "entropy"]
    lr: float
    bound: float | None
    all_masks: bool


class Adversary:
    """The perturbations of a session's tasks, and the losses that they give rise to.

    Args:
        session: The merged model.
        perturbations: One a task.
        safety: What they are used for.
        clamp_climb: Whether perturbed images are clamped while the perturbations climb.

    Attributes:
        PARTS: Names of the losses it gives rise to.
        perturbations: One a task.
        safety: What they are used for.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("safety", "perturbation")

    def __init__(
        self, session: Session, perturbations: Perturbations, safety: Safety, *, clamp_climb: bool
    ) -> None:
        self.perturbations = perturbations
        self.safety = safety
        self._session = session
        self._clamp_climb = clamp_climb

    def climb(self, images: Tensor, classes: Sequence[Tensor]) -> Tensor:
        """Let the perturbations take one step up CE(f(x + delta), argmax f(x)).

        Args:
            images: A batch, task after task.
            classes: The predicted classes of its clean images.

        Returns:
            The loss before the step.
        """
        perturbed = self.perturbations.apply(images, clamp=self._clamp_climb)
        slope, attack = self._session.image_gradient(perturbed.detach(), image_cross_entropy(classes))
        self.perturbations.climb((perturbed * slope).sum())
        return attack.loss

    def add_gradient(self, images: Tensor, classes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Add the gradient of alpha L_safe on a batch to that of the engine.

        Args:
            images: A batch, task after task.
            classes: The predicted classes of its clean images.

        Returns:
            L_safe, as `safety`.
        """
        perturbed = self.perturbations.apply(images).detach()
        loss = image_entropy if self.safety.loss == "entropy" else image_cross_entropy(classes)
        return {"safety": self._session.add_gradient(perturbed, loss, scale=self.safety.alpha).loss}
