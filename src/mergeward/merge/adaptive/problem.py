"""What an adaptive merge is given, and what it gives back.

No files here: tensors, an encoder and unlabelled images come in; merged weights and a record of the learning
go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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
            of the scope. Buffers `mean` and `std`, where it has them, say how it normalises pixels first. It
            is copied, never changed.
        base: The scope's tensors in the base, by name. Their order is the order of the result.
        contributions: The same tensors in each contribution.
        names: One name a contribution, for the record.
        tasks: The tasks to merge for; any number.
        seed: Seed of every random draw.
        claims: Name of the task that each contribution claims, one of `tasks`; empty where it is not known.
            Only methods that look at each contribution on images of its own task ask for it.
        masks: Learnt masks to use again, as `AdaptiveResult.masks`; None learns them.
        device: Where to compute.
        store: Where the state of the learning is kept, for a run that goes on after an interruption; None
            keeps none.

    Raises:
        CheckpointError: A contribution or a mask lacks a tensor of the base, has one more, or one of another
            shape.
        DataError: No task, two tasks of one name, tasks whose images or heads differ in size, or a claim to
            none of the tasks.
        UnsupportedError: No contribution, or the encoder's parameters are not the tensors of the scope.
    """

    encoder: nn.Module
    base: Mapping[str, Tensor]
    contributions: Sequence[Mapping[str, Tensor]]
    names: Sequence[str]
    tasks: Sequence[UnlabelledTask]
    seed: int
    claims: Sequence[str] = ()
    masks: Mapping[str, Mapping[str, Tensor]] | None = None
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
            check_same_tensors(f"contribution {name!r}", contribution, self.base)
        for name, mask in (self.masks or {}).items():
            check_same_tensors(f"mask {name!r}", mask, self.base)
        _check_claims(self.claims, self.names, self.tasks)

    def own_tasks(self, method: str) -> list[UnlabelledTask]:
        """Return the task of each contribution.

        Args:
            method: Who asks, for the error.

        Raises:
            DataError: The problem does not say which contribution is for which task.
        """
        if not self.claims:
            raise DataError(f"{method}: needs to know the task of each contribution, and none is given")
        by_name = {task.name: task for task in self.tasks}
        return [by_name[claim] for claim in self.claims]


@dataclass(frozen=True)
class AdaptiveResult:
    """What an adaptive merge returns.

    Attributes:
        weights: float32, the merged tensors of the scope, in the order of the base.
        record: Numbers and names only, fit for JSON: how the predictions spread over the classes of each task
            at start and end (`balance`), and what the method learnt or measured: final coefficients by
            contribution and tensor, the loss at every step.
        masks: float32 logits by mask and tensor, of the methods that learn masks.
    """

    weights: dict[str, Tensor]
    record: dict[str, Any]
    masks: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


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


class Shaped(Protocol):
    """What has a shape: a tensor, or what is known of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Its size along each dimension."""


def check_same_tensors(owner: str, tensors: Mapping[str, Shaped], base: Mapping[str, Shaped]) -> None:
    """Check that something has the tensors of the base's scope, in their shapes, and no other.

    Args:
        owner: What has them, in words.
        tensors: What it has.
        base: The scope's tensors in the base.

    Raises:
        CheckpointError: It lacks a tensor, has one more, or one of another shape.
    """
    missing = [key for key in base if key not in tensors]
    if missing:
        raise CheckpointError(f"{owner} lacks {_first(missing)}")
    extra = [key for key in tensors if key not in base]
    if extra:
        raise CheckpointError(f"{owner} has tensors outside the scope: {_first(extra)}")
    for key, tensor in base.items():
        if tensors[key].shape != tensor.shape:
            raise CheckpointError(
                f"{owner}: tensor {key!r} has shape {list(tensors[key].shape)}, the base {list(tensor.shape)}"
            )


def _check_claims(claims: Sequence[str], names: Sequence[str], tasks: Sequence[UnlabelledTask]) -> None:
    if not claims:
        return
    if len(claims) != len(names):
        raise DataError(f"expected a task for each of {len(names)} contributions, found {list(claims)}")
    known = [task.name for task in tasks]
    for name, claim in zip(names, claims, strict=True):
        if claim not in known:
            raise DataError(f"contribution {name!r} claims task {claim!r}, which is none of {known}")


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def _pairs(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())
