"""SAU, shared adversarial unlearning, as DAM's authors adapt it to a merged model without labels.

Wei et al. (2023) look for perturbations that move the purified and the backdoored model to the same wrong
class, and unlearn what these share. In the adaptation the purified model is the merged one under a mask on
what the merge changed, the backdoored one is the merged model itself, one perturbation serves all images of a
task, and predictions stand for labels. `masked` says where the code here differs from the released one;
besides, the divergence and log(1 - p) are computed from log-probabilities and not from clamped probabilities.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mergeward.defense.masked import MakeObjective, MaskParameters, Objective, learn
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import refuse_running_state
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.objectives import predictions


class SauParameters(MaskParameters):
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


class Reference:
    """The merged model as it was.

    Args:
        encoder: The merged encoder; it is copied.
        tasks: Where the heads come from.
    """

    def __init__(self, encoder: nn.Module, tasks: Sequence[UnlabelledTask]) -> None:
        self._encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        dtype = next(self._encoder.parameters()).dtype
        self._heads = [task.head.to(dtype) for task in tasks]

    def logits(self, images: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return the logits `[B_t, C_t]` of each task for a batch of `sizes` images."""
        parts = torch.split(self._encoder(images), list(sizes))
        return [part @ head.T for part, head in zip(parts, self._heads, strict=True)]


class SharedObjective(Objective):
    """What one batch is learnt by: AWM's loss, and what the masked model shares with the merged one.

    Args:
        parameters: Weights.
        reference: The merged model.
        images: The clean batch.
        clean: Logits of the masked model for it.
    """

    def __init__(
        self, parameters: SauParameters, reference: Reference, images: Tensor, clean: Sequence[Tensor]
    ) -> None:
        super().__init__(parameters, clean)
        self._weights = parameters
        self._reference = reference
        self._sizes = [len(task) for task in clean]
        with torch.no_grad():
            self._reference_classes = predictions(reference.logits(images, self._sizes))

    def attack(self, images: Tensor, logits: Sequence[Tensor]) -> Tensor:
        """Return what the perturbations climb: beta1 CE - beta2 JS.

        JS is the Jensen-Shannon divergence of both models' predictions, over the images that do not move both
        of them to one same other class, divided by the number of all.
        """
        theirs = self._reference.logits(images, self._sizes)
        parts = zip(logits, theirs, self._classes, self._reference_classes, strict=True)
        apart = torch.stack([_apart(*task) for task in parts]).sum()
        return self._weights.beta1 * super().attack(images, logits) - self._weights.beta2 * apart

    def losses(self, images: Tensor, logits: Sequence[Tensor]) -> dict[str, tuple[float, Tensor]]:
        """Return AWM's parts, and `shared`: -log(1 - p) of the class that the merged model is moved to."""
        with torch.no_grad():
            theirs = predictions(self._reference.logits(images, self._sizes))
        parts = zip(logits, theirs, self._classes, self._reference_classes, strict=True)
        shared = torch.stack([_shared(*task) for task in parts]).sum()
        return {**super().losses(images, logits), "shared": (self._weights.shared_weight, shared)}


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
        The hardened weights and the record of `masked.learn`; the parts of the loss are `performance`,
        `safety`, `shared` and `perturbation`.

    Raises:
        UnsupportedError: The encoder has running statistics.
        MergewardError: A loss is no longer finite.
    """
    refuse_running_state("sau", problem.encoder)
    return learn("sau", problem, parameters, objective(parameters, problem))


def objective(parameters: SauParameters, problem: HardenProblem) -> MakeObjective:
    """Return what each batch is learnt by."""
    return partial(SharedObjective, parameters, Reference(problem.encoder, problem.tasks))


def _apart(ours: Tensor, theirs: Tensor, classes: Tensor, reference_classes: Tensor) -> Tensor:
    """Return the mean over images of the divergence, 0 for those that are moved to one same class."""
    moved, reference_moved = ours.argmax(-1), theirs.argmax(-1)
    together = (moved != classes) & (reference_moved != reference_classes) & (moved == reference_moved)
    return divergence(ours, theirs).masked_fill(together, 0).mean()


def _shared(ours: Tensor, moved: Tensor, classes: Tensor, reference_classes: Tensor) -> Tensor:
    """Return the mean over images of -log(1 - p_moved), 0 for those that do not move the merged model."""
    suspect = (moved != reference_classes) & (moved != classes)
    return -log_of_rest(ours, moved).masked_fill(~suspect, 0).mean()


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
)
