"""What a defender has after the merge, what a defense returns, and what is known of each defense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mergeward.errors import CheckpointError, DataError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.method import Parameters


@dataclass(frozen=True)
class HardenProblem:
    """What a defender has: the merged model, the base, and unlabelled images. No label, no trigger.

    Attributes:
        encoder: The merged image encoder, in eval mode: float `[B, 3, S, S]` in [0, 1] to features `[B, D]`.
            It is left as it is.
        base: The base's tensors under the names of the encoder's parameters.
        tasks: The adapt images of every task the model was merged for.
        seed: Seed of every random draw.

    Raises:
        CheckpointError: The base lacks a parameter of the encoder, or has it in another shape.
        DataError: There is no task.
    """

    encoder: nn.Module
    base: Mapping[str, Tensor]
    tasks: Sequence[UnlabelledTask]
    seed: int

    def __post_init__(self) -> None:
        if not self.tasks:
            raise DataError("a defense needs the adapt images of at least one task, found none")
        for name, parameter in self.encoder.named_parameters():
            if name not in self.base:
                raise CheckpointError(f"the base has no tensor {name!r}, which the merged encoder has")
            if self.base[name].shape != parameter.shape:
                raise CheckpointError(
                    f"tensor {name!r} of the base has shape {list(self.base[name].shape)}, "
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
class DefenseInfo:
    """One defense.

    Attributes:
        name: The name the command line and suites ask for it by.
        summary: What it does, in one sentence without a full stop.
        paper: Citation with its arXiv id.
        run: Called as `run(problem, parameters)`, returns `Hardened`. It refuses an architecture that it
            does not apply to with `UnsupportedError`, before any work.
        parameters: Model of its parameters.
    """

    name: str
    summary: str
    paper: str
    run: Callable[[HardenProblem, Any], Hardened]
    parameters: type[Parameters]
