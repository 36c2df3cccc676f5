"""What a defender has after the merge, what a defense returns, and what is known of each defense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mergeward.errors import CheckpointError, DataError, UsageError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.learning import Store
from mergeward.merge.adaptive.problem import CPU
from mergeward.merge.method import Parameters
from mergeward.plugins import Record


@dataclass(frozen=True)
class HardenProblem:
    """What a defender has: the merged model, the base, and unlabelled images. No label, no trigger.

    Attributes:
        encoder: The merged image encoder, in eval mode: float `[B, 3, S, S]` in [0, 1] to features `[B, D]`.
            It is left as it is.
        base: The base's tensors under the names of the encoder's parameters.
        tasks: The adapt images of every task the model was merged for.
        seed: Seed of every random draw.
        others: Tensors of other models under the same names, by the models' names; empty for most defenses.
        device: Where to compute, for defenses that can.
        store: Where the state of the learning is kept, for a run that goes on after an interruption; None
            keeps none.

    Raises:
        CheckpointError: The base or another model lacks a parameter of the encoder, or has it in another
            shape.
        DataError: There is no task.
    """

    encoder: nn.Module
    base: Mapping[str, Tensor]
    tasks: Sequence[UnlabelledTask]
    seed: int
    others: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    device: torch.device = CPU
    store: Store | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise DataError("a defense needs the adapt images of at least one task, found none")
        self._check("the base", self.base)
        for name, state in self.others.items():
            self._check(repr(name), state)

    def merged(self) -> dict[str, Tensor]:
        """Return the merged encoder's parameters by name, without their gradients; not copies."""
        return {name: parameter.detach() for name, parameter in self.encoder.named_parameters()}

    def _check(self, model: str, state: Mapping[str, Tensor]) -> None:
        for name, parameter in self.encoder.named_parameters():
            if name not in state:
                raise CheckpointError(f"{model} has no tensor {name!r}, which the merged encoder has")
            if state[name].shape != parameter.shape:
                raise CheckpointError(
                    f"tensor {name!r} of {model} has shape {list(state[name].shape)}, "
                    f"that of the merged encoder {list(parameter.shape)}"
                )


@dataclass(frozen=True)
class Hardened:
    """What a defense returns.

    Attributes:
        state: float32, every parameter of the encoder by name.
        record: Numbers and names only, fit for JSON: what the defense changed.
    """

    state: dict[str, Tensor]
    record: dict[str, Any]


@dataclass(frozen=True)
class DefenseInfo(Record):
    """One defense.

    Attributes:
        run: Called as `run(problem, parameters)`, returns `Hardened`. It refuses an architecture that it
            does not apply to with `UnsupportedError`, before any work.
        parameters: Model of its parameters.
        needs_others: Whether it needs other models beside the merged one and the base.
        any_device: Whether it computes on CUDA devices too.
    """

    run: Callable[[HardenProblem, Any], Hardened]
    parameters: type[Parameters]
    needs_others: bool = False
    any_device: bool = False

    def check_others(self, count: int) -> None:
        """Check that there are other models where they are needed, and none where they are not.

        Raises:
            UsageError: There are none, or some that it would not use.
        """
        if self.needs_others and not count:
            raise UsageError(f"{self.name}: needs other models beside the merged one, found none")
        if count and not self.needs_others:
            raise UsageError(f"{self.name}: uses no other model, found {count}")


@dataclass(frozen=True)
class Inapplicable:
    """A published defense that no encoder here can be hardened with.

    Attributes:
        name: The name it is known by.
        summary: What it does, in one sentence without a full stop.
        paper: Citation.
        needs: What it needs that a vision transformer has not.
    """

    name: str
    summary: str
    paper: str
    needs: str
