"""What a cell measures, as plain values: how a model comes about, from the base to a hardened merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mergeward.attack import attack_info
from mergeward.defense import defense_info
from mergeward.merge.registry import method
from mergeward.plugins import Record
from mergeward.train import FinetuneConfig


@dataclass(frozen=True)
class Base:
    """The pretrained model, nothing merged."""


@dataclass(frozen=True)
class Backdoor:
    """What an attacker puts into a contribution.

    Attributes:
        attack: An attack of the registry.
        target_task: Spec of the attacked task; that of the contribution, or another's.
        target_class: Class name or label that triggered images are to be given.
        parameters: The attack's parameters.
    """

    attack: str
    target_task: str
    target_class: str | int
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contribution:
    """A fine-tune of the base.

    Attributes:
        task: Spec of the task.
        seed: Seed of the task's splits.
        training: How it is fine-tuned, with a seed of its own.
        backdoor: What it carries; None for a clean one.
        is_partner: Whether it is the second contribution of an attack that makes two.
        published: Folder or hub id of somebody else's fine-tune that stands here in place of ours, which is
            then not made.
    """

    task: str
    seed: int
    training: FinetuneConfig
    backdoor: Backdoor | None = None
    is_partner: bool = False
    published: str | None = None


@dataclass(frozen=True)
class Merged:
    """A merge of contributions.

    Attributes:
        pool: The contributions, in order.
        method: A merge method of the registry.
        parameters: Its parameters.
        seed: Seed of the merge.
        surgery: Parameters of representation surgery on top; None for none.
    """

    pool: tuple[Contribution, ...]
    method: str
    parameters: Mapping[str, Any]
    seed: int
    surgery: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Hardened:
    """A merge that a defense changed.

    Attributes:
        merge: What it was.
        defense: A defense of the registry.
        parameters: Its parameters.
    """

    merge: Merged
    defense: str
    parameters: Mapping[str, Any]


Model: TypeAlias = Base | Contribution | Merged | Hardened


def contributions(model: Model) -> tuple[Contribution, ...]:
    """Return the contributions that a model is made from."""
    match model:
        case Merged(pool=pool) | Hardened(merge=Merged(pool=pool)):
            return pool
        case Contribution():
            return (model,)
        case _:
            return ()


def packages(*models: Model) -> tuple[str, ...]:
    """Return the names and versions of the packages whose plug-ins models are made with, each once."""
    infos = (info for model in models for info in _made_with(model))
    return tuple(dict.fromkeys(info.package for info in infos if info.package))


def _made_with(model: Model) -> Iterator[Record]:
    """Yield the attacks, the merge method and the defense of a model."""
    yield from (attack_info(one.backdoor.attack) for one in contributions(model) if one.backdoor is not None)
    match model:
        case Merged():
            yield method(model.method)
        case Hardened():
            yield method(model.merge.method)
            yield defense_info(model.defense)
