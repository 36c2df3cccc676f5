"""What an adaptive merge is given, and what it gives back.

No files here: tensors, an encoder and unlabelled images come in; merged weights and a record of the learning
go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mergeward.errors import CheckpointError, DataError, UnsupportedError
from mergeward.merge.adaptive.learning import Store

_SHOWN = 3
CPU = torch.device("cpu")


@dataclass(frozen=True)
class UnlabelledTask:
    """One task as an adaptive merge sees it: images without labels, and a frozen head.

    Attributes:
        name: The task's name.
        images: uint8 `[N, 3, S, S]`, the adapt images, preprocessed but not normalised.
        head: float32 `[C, D]`, one row a class: unit text features times the logit scale, so that
            `features @ head.T` are logits.

    Raises:
        DataError: Images or head are of another shape or type, empty, or not finite.
    """

    name: str
    images: Tensor
    head: Tensor

    def __post_init__(self) -> None:
        images, head = self.images, self.head
        square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if images.dtype != torch.uint8 or not square:
            found = f"{images.dtype} {list(images.shape)}"
            raise DataError(f"adapt images of task {self.name!r}: expected uint8 [N, 3, S, S], found {found}")
        if len(images) == 0:
            raise DataError(f"task {self.name!r} has no adapt images; an adaptive merge needs at least one")
        if head.ndim != 2 or not head.is_floating_point() or len(head) < 2:
            found = f"{head.dtype} {list(head.shape)}"
            raise DataError(
                f"head of task {self.name!r}: expected float [C, D] with two classes or more, found {found}"
            )
        if not bool(head.isfinite().all()):
            raise DataError(f"head of task {self.name!r} holds values that are not finite")


@dataclass(frozen=True)
class AdaptiveProblem:
    """All that an adaptive merge works on.

    Attributes:
        encoder: Maps float `[B, 3, S, S]` in [0, 1] to unit features `[B, D]`. Its parameters carry the names
            of the scope. It is copied, never changed.
        base: The scope's tensors in the base, by name. Their order is the order of the result.
        contributions: The same tensors in each contribution.
        names: One name a contribution, for the record.
        tasks: The tasks to merge for; any number, in no relation to the contributions.
        seed: Seed of every random draw.
        device: Where to compute.
        store: Where the state of the learning is kept, for a run that goes on after an interruption; None
            keeps none.

    Raises:
        CheckpointError: A contribution lacks a tensor of the base, has one more, or one of another shape.
        DataError: No task, two tasks of one name, or tasks whose images or heads differ in size.
        UnsupportedError: No contribution, or the encoder's parameters are not the tensors of the scope.
    """

    encoder: nn.Module
    base: Mapping[str, Tensor]
    contributions: Sequence[Mapping[str, Tensor]]
    names: Sequence[str]
    tasks: Sequence[UnlabelledTask]
    seed: int
    device: torch.device = CPU
    store: Store | None = None

    def __post_init__(self) -> None:
        _check_tasks(self.tasks)
        _check_encoder(self.encoder, self.base)
        if not self.contributions:
            raise UnsupportedError("an adaptive merge needs at least one contribution, found none")
        if len(self.names) != len(self.contributions) or len(set(self.names)) != len(self.names):
            raise UnsupportedError(
                f"expected one distinct name for each of {len(self.contributions)} contributions, "
                f"found {list(self.names)}"
            )
        for name, contribution in zip(self.names, self.contributions, strict=True):
            _check_contribution(name, contribution, self.base)


@dataclass(frozen=True)
class AdaptiveResult:
    """What an adaptive merge returns.

    Attributes:
        weights: float32, the merged tensors of the scope, in the order of the base.
        record: Numbers and names only, fit for JSON: the final coefficients by contribution and tensor, the
            loss at every step, and how the predictions spread over the classes of each task at start and end.
    """

    weights: dict[str, Tensor]
    record: dict[str, Any]


def _check_tasks(tasks: Sequence[UnlabelledTask]) -> None:
    if not tasks:
        raise DataError("an adaptive merge needs the adapt images of at least one task, found none")
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise DataError(f"expected tasks of different names, found {names}")
    sides = {task.name: task.images.shape[2] for task in tasks}
    if len(set(sides.values())) > 1:
        raise DataError(f"adapt images must be of one size, found {_pairs(sides)}")
    widths = {task.name: task.head.shape[1] for task in tasks}
    if len(set(widths.values())) > 1:
        raise DataError(f"heads must be of one feature width, found {_pairs(widths)}")


def _check_encoder(encoder: nn.Module, base: Mapping[str, Tensor]) -> None:
    parameters = dict(encoder.named_parameters())
    outside = [name for name in base if name not in parameters]
    if outside:
        raise UnsupportedError(
            f"adaptive merges take part in the image encoder only; not its parameters: {_first(outside)} "
            "(set the scope to the vision tower)"
        )
    left_out = [name for name in parameters if name not in base]
    if left_out:
        raise UnsupportedError(f"parameters of the encoder outside the scope: {_first(left_out)}")
    for name, tensor in base.items():
        if tensor.shape != parameters[name].shape:
            raise UnsupportedError(
                f"tensor {name!r} of the base has shape {list(tensor.shape)}, "
                f"the encoder's parameter {list(parameters[name].shape)}"
            )


def _check_contribution(name: str, contribution: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    missing = [key for key in base if key not in contribution]
    if missing:
        raise CheckpointError(f"contribution {name!r} lacks {_first(missing)}")
    extra = [key for key in contribution if key not in base]
    if extra:
        raise CheckpointError(f"contribution {name!r} has tensors outside the scope: {_first(extra)}")
    for key, tensor in base.items():
        if contribution[key].shape != tensor.shape:
            raise CheckpointError(
                f"contribution {name!r}: tensor {key!r} has shape {list(contribution[key].shape)}, "
                f"the base {list(tensor.shape)}"
            )


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def _pairs(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())
