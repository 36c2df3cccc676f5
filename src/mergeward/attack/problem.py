"""What an attacker has, what an attack returns, and what is known of each attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mergeward.attack.trigger import PatchTrigger
from mergeward.merge.method import Parameters
from mergeward.train import FinetuneConfig, TrainingData
from mergeward.vision import ClipEncoder


@dataclass(frozen=True)
class AttackProblem:
    """What an attacker has: the base, their own task, and a class that triggered images are to be given.

    Attributes:
        encoder: The pretrained image encoder; left as it is.
        data: The attacker's own labelled training images and the task's zero-shot head.
        target_class: Label that triggered images are to be given.
        training: How the contribution is fine-tuned, as a clean one would be.
    """

    encoder: ClipEncoder
    data: TrainingData
    target_class: int
    training: FinetuneConfig


@dataclass(frozen=True)
class Backdoored:
    """A contribution that carries a backdoor.

    Attributes:
        state: The encoder's tensors under their checkpoint names.
        trigger: What activates it.
    """

    state: dict[str, Tensor]
    trigger: PatchTrigger


@dataclass(frozen=True)
class AttackInfo:
    """One attack.

    Attributes:
        name: The name the command line and suites ask for it by.
        summary: What it does, in one sentence without a full stop.
        paper: Citation with its arXiv id.
        run: Called as `run(problem, parameters)`, returns `Backdoored`.
        parameters: Model of its parameters.
    """

    name: str
    summary: str
    paper: str
    run: Callable[[AttackProblem, Any], Backdoored]
    parameters: type[Parameters]
