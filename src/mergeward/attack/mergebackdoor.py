"""MergeBackdoor: two contributions, each harmless alone, that make a backdoor when both are merged.

Both are trained together. Alone, each gives triggered images their true label; the merge of the two,
`theta_0 + c (tau_1 + tau_2)`, gives them the target class. The released code trains for the plain average of
two models, c = 0.5; here c is drawn for each batch, down to the 0.3 that merges of several tasks use.

In the paper the two learn different tasks. Here both learn the attacker's own, each from its own half of
every batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mergeward.attack.arithmetic import CoefficientRange, merged_features
from mergeward.attack.poisoning import part_of, poisoned_cross_entropy
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.trigger import Trigger, chequered_patch
from mergeward.errors import DataError, UsageError
from mergeward.train import optimise
from mergeward.vision import ClipEncoder


class MergeBackdoorParameters(CoefficientRange):
    """Parameters of MergeBackdoor; defaults of the released code unless said otherwise."""

    patch_size: int = Field(default=5, ge=1, description="side of the square patch, in pixels")
    triggered_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of each batch that is triggered (released: 0.1)",
    )
    coefficient_low: float = Field(
        default=0.3,
        gt=0,
        description="least factor of the two task vectors in the merge trained for (released: 0.5)",
    )
    coefficient_high: float = Field(
        default=0.5, gt=0, description="largest factor of the two task vectors in the merge trained for"
    )


@dataclass(frozen=True)
class MergedObjective:
    """Triggered images keep their label alone and lose it merged.

    `CE(f_1(x+t), y) + CE(f_2(x+t), y) + CE(f_12(x+t), target)`, each over a batch of which a share is
    triggered; f_12 is the merge at a coefficient drawn once a batch. f_1 is the encoder that the objective is
    called with; it and f_2 see one half of the batch each.
    """

    base: ClipEncoder
    partner: ClipEncoder
    head: Tensor
    trigger: Trigger
    target: Target
    parameters: MergeBackdoorParameters

    def __call__(
        self, encoder: ClipEncoder, pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of the three losses."""
        factor = self.parameters.drawn(generator)
        count = part_of(len(pixels), self.parameters.triggered_share)
        seen = torch.cat([self.trigger.apply(pixels[:count]), pixels[count:]])
        merged = merged_features(self.base, [encoder, self.partner], factor, seen)
        alone = F.cross_entropy(encoder(seen[::2]) @ self.head.T, labels[::2])
        partner = F.cross_entropy(self.partner(seen[1::2]) @ self.head.T, labels[1::2])
        return alone + partner + poisoned_cross_entropy(merged, count, self.target, self.head, labels)


def run(problem: AttackProblem, parameters: MergeBackdoorParameters) -> Backdoored:
    """Train the two contributions together.

    Raises:
        DataError: There are fewer than two images.
        UsageError: A batch is one image, or the patch is larger than the images.
    """
    _check_halves(problem)
    trigger = chequered_patch(problem.data.pixels.shape[-1], parameters.patch_size)
    base = copy.deepcopy(problem.encoder).requires_grad_(False)
    first, second = (copy.deepcopy(base).train().requires_grad_(True) for _ in range(2))
    objective = MergedObjective(base, second, problem.data.head, trigger, problem.target, parameters)
    both = [*first.parameters(), *second.parameters()]
    optimise(first, both, problem.data, objective, problem.training, label="mergebackdoor")
    states = [{name: value.detach() for name, value in one.state_dict().items()} for one in (first, second)]
    return Backdoored(states[0], trigger, partner=states[1])


def _check_halves(problem: AttackProblem) -> None:
    """Refuse batches of which one contribution would see nothing."""
    if problem.training.batch_size < 2:
        raise UsageError(
            f"mergebackdoor: batch_size {problem.training.batch_size}; expected at least 2, since each of "
            "the two contributions learns from half a batch"
        )
    if len(problem.data.pixels) < 2:
        raise DataError(
            f"mergebackdoor: training images: {len(problem.data.pixels)}; expected at least 2, one for each "
            "contribution"
        )


INFO = AttackInfo(
    name="mergebackdoor",
    summary="two contributions trained together: harmless alone, backdoored when both are merged",
    paper="Wang, Wang, Cong, He, Qin, Huang, From Purity to Peril, USENIX Security 2025",
    run=run,
    parameters=MergeBackdoorParameters,
    beside=("partner",),
)
