"""What an attacker has, what an attack returns, and what is known of each attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mergeward.attack.trigger import Trigger
from mergeward.merge.method import Parameters
from mergeward.plugins import Record
from mergeward.train import FinetuneConfig, TrainingData
from mergeward.vision import ClipEncoder

Aim = Literal["on-task", "off-task"]
AIMS: tuple[Aim, ...] = ("on-task", "off-task")


@dataclass(frozen=True)
class Target:
    """What triggered images are to be taken for.

    On-task it is a class of the attacker's own task. Off-task it is a class of somebody else's, of which the
    attacker knows the name and has a few images; a shadow head stands for the head they do not know, made
    from that name and names that have nothing to do with the task (BadMerging, section 4.4).

    Attributes:
        head: float32 `[C, D]`, the attacker's own head, or the shadow head.
        label: The target's row in `head`.
        references: Off-task, uint8 `[R, 3, H, W]`: images of the target class. None on-task.
    """

    head: Tensor
    label: int
    references: Tensor | None = None

    @property
    def aim(self) -> Aim:
        """Whether the class is one of the attacker's own task."""
        return "on-task" if self.references is None else "off-task"

    def labels(self, count: int) -> Tensor:
        """Return the target's label `count` times, int64 `[count]`."""
        return torch.full((count,), self.label)


@dataclass(frozen=True)
class AttackProblem:
    """What an attacker has: the base, their own task, and what triggered images are to be taken for.

    Attributes:
        encoder: The pretrained image encoder; left as it is.
        data: The attacker's own labelled training images and the task's zero-shot head.
        target: What triggered images are to be taken for. On-task, its head is that of `data`.
        training: How the contribution is fine-tuned, as a clean one would be.
    """

    encoder: ClipEncoder
    data: TrainingData
    target: Target
    training: FinetuneConfig

    @property
    def of_other_classes(self) -> Tensor:
        """int64 `[M]`: places of the attacker's images whose class is not the target; off-task, of all."""
        if self.target.aim == "off-task":
            return torch.arange(len(self.data.labels))
        return torch.nonzero(self.data.labels != self.target.label).flatten()


@dataclass(frozen=True)
class Backdoored:
    """A contribution that carries a backdoor.

    Attributes:
        state: The encoder's tensors under their checkpoint names.
        trigger: What activates it.
        partner: Tensors of the second contribution of an attack that makes two, else None.
        subtracted: What activates it when its task vector is subtracted, where that is another trigger.
    """

    state: dict[str, Tensor]
    trigger: Trigger
    partner: dict[str, Tensor] | None = None
    subtracted: Trigger | None = None


@dataclass(frozen=True)
class AttackInfo(Record):
    """One attack.

    Attributes:
        run: Called as `run(problem, parameters)`, returns `Backdoored`.
        parameters: Model of its parameters.
        aims: Whose classes it can attack: those of the attacker's own task (on-task), of somebody else's
            (off-task), or both.
        beside: What it makes beside the contribution, as `Backdoored` names it; each gets its own folder.
    """

    run: Callable[[AttackProblem, Any], Backdoored]
    parameters: type[Parameters]
    aims: tuple[Aim, ...] = AIMS
    beside: tuple[Literal["partner", "subtracted"], ...] = ()
