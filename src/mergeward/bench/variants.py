"""What a suite's axes make of its methods, defenses and attacks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from mergeward.attack import attack_info
from mergeward.attack.problem import Aim
from mergeward.attack.shadow import ShadowParameters
from mergeward.bench.fields import TRAINING_KEYS
from mergeward.bench.suite import (
    NONE,
    Adversary,
    AttackEntry,
    DefenseEntry,
    MethodEntry,
    Suite,
)
from mergeward.defense import defense_info
from mergeward.errors import RecipeError, UnsupportedError, UsageError, suggestion
from mergeward.merge.adaptive.surgery import SurgeryParameters
from mergeward.merge.registry import method
from mergeward.merge.schedule import check_parameters
from mergeward.recipe import describe, validated
from mergeward.workflow.backdoor import attack_settings

Axes: TypeAlias = Mapping[str, Any]
"""Where on the axes of a suite something lies: values by the axis's name."""

TASKS, ABSENT = "tasks", "absent"
ATTACKER_FIELDS = ("task", "partner", "target_task", "target_class")

Entry = TypeVar("Entry", AttackEntry, MethodEntry, DefenseEntry)


@dataclass(frozen=True)
class Variant(Generic[Entry]):
    """A member of a suite at one place on the axes that concern it.

    Attributes:
        entry: The member, with that place's values.
        axes: The place.
    """

    entry: Entry
    axes: Axes


def method_variants(suite: Suite) -> list[Variant[MethodEntry]]:
    """Return a suite's merge methods, each at every place of the axes that concern it."""
    return [
        Variant(_with_parameters(entry, axes), axes)
        for entry in suite.methods
        for axes in _places(suite, entry)
    ]


def defense_variants(suite: Suite) -> list[Variant[DefenseEntry]]:
    """Return a suite's defenses, each at every place of the axes that concern it."""
    return [
        Variant(_with_parameters(entry, axes), axes)
        for entry in suite.defenses
        for axes in _places(suite, entry)
    ]


def attack_variants(suite: Suite) -> list[Variant[AttackEntry]]:
    """Return a suite's attacks, each at every place of the axes that concern it."""
    return [
        Variant(_with_adversaries(entry, axes), axes)
        for entry in suite.attacks
        for axes in _places(suite, entry)
    ]


def task_counts(suite: Suite, available: int) -> list[tuple[int, Axes]]:
    """Return how many tasks take part, at every place of the axis `tasks`.

    Raises:
        UsageError: The axis asks for more tasks than there are.
    """
    if TASKS not in suite.sweep:
        return [(available, {})]
    counts: list[tuple[int, Axes]] = []
    for count in suite.sweep[TASKS]:
        if not isinstance(count, int) or not 1 <= count <= available:
            raise UsageError(
                f"suite {suite.name}: sweep.tasks: {count!r}, expected whole numbers from 1 to {available}"
            )
        counts.append((count, {TASKS: count}))
    return counts


def absences(suite: Suite, available: int) -> list[tuple[frozenset[int], Axes]]:
    """Return whose contributions are left out, by place, at every place of the axis `absent`.

    Raises:
        UsageError: The axis names a task that there is not, or all of them.
    """
    found: list[tuple[frozenset[int], Axes]] = []
    for value in suite.sweep.get(ABSENT, ((),)):
        listed = list(value) if isinstance(value, list | tuple) else [value]
        places = [place for place in listed if isinstance(place, int) and 0 <= place < available]
        if len(places) < len(listed) or len(set(places)) >= available:
            raise UsageError(
                f"suite {suite.name}: sweep.absent: {value!r}, expected lists of some of 0 to {available - 1}"
            )
        axes = {ABSENT: ", ".join(map(str, places)) or NONE} if ABSENT in suite.sweep else {}
        found.append((frozenset(places), axes))
    return found


def check_suite(suite: Suite) -> None:
    """Check everything a suite names against the registries.

    Raises:
        UsageError: There is no such method, attack or defense, or an axis concerns no member.
        RecipeError: A parameter is unknown or out of range.
        UnsupportedError: An attack cannot aim at another's task, or at its own.
    """
    try:
        _check_axes(suite)
        for attacked in attack_variants(suite):
            for one in attacked.entry.adversaries:
                attack_settings(attack_info(one.attack), _aim(one), one.parameters)
        for merging in method_variants(suite):
            info = method(merging.entry.method)
            check_parameters(info, merging.entry.parameters, {"models[0]": {}, "models[1]": {}})
            validated(SurgeryParameters, merging.entry.surgery or {}, where="surgery")
        for hardening in defense_variants(suite):
            if hardening.entry.defense != NONE:
                defending = defense_info(hardening.entry.defense)
                defending.check_others(0)
                validated(defending.parameters, hardening.entry.parameters, where="parameters")
    except (UsageError, RecipeError, UnsupportedError) as error:
        text = str(error).removeprefix("recipe: ")
        raise type(error)(f"suite {suite.name}: {text}") from error


def _check_axes(suite: Suite) -> None:
    members: list[AttackEntry | MethodEntry | DefenseEntry] = [
        *suite.attacks,
        *suite.methods,
        *suite.defenses,
    ]
    known = {TASKS, ABSENT}.union(*(_axes(entry) for entry in members))
    for axis in suite.sweep:
        if axis not in known:
            raise UsageError(f"sweep.{axis}: no member of the suite has it{suggestion(axis, known)}")


def _places(suite: Suite, entry: AttackEntry | MethodEntry | DefenseEntry) -> list[dict[str, Any]]:
    """Return the places on the axes that concern a member; one, on no axis, where none does."""
    own = _axes(entry)
    axes = [axis for axis in suite.sweep if axis in own]
    combinations = itertools.product(*(suite.sweep[axis] for axis in axes))
    return [dict(zip(axes, values, strict=True)) for values in combinations]


def _axes(entry: AttackEntry | MethodEntry | DefenseEntry) -> set[str]:
    """Return the axes that concern a member."""
    if isinstance(entry, MethodEntry):
        info = method(entry.method)
        return {f"method.{key}" for key in _keys(info.parameters) | _keys(info.model_parameters)}
    if isinstance(entry, DefenseEntry):
        if entry.defense == NONE:
            return set()
        return {f"defense.{key}" for key in _keys(defense_info(entry.defense).parameters)}
    own = {f"attack.{key}" for one in entry.adversaries for key in _attack_keys(one)}
    return own | {f"attacker.{key}" for key in (*TRAINING_KEYS, *ATTACKER_FIELDS)}


Merging = TypeVar("Merging", MethodEntry, DefenseEntry)


def _with_parameters(entry: Merging, axes: Axes) -> Merging:
    own = {axis.partition(".")[2]: value for axis, value in axes.items()}
    return entry.model_copy(update={"parameters": {**entry.parameters, **own}})


def _with_adversaries(entry: AttackEntry, axes: Axes) -> AttackEntry:
    return entry.model_copy(update={"adversaries": tuple(_placed(one, axes) for one in entry.adversaries)})


def _placed(one: Adversary, axes: Axes) -> Adversary:
    known = _attack_keys(one)
    fields: dict[str, Any] = {"parameters": dict(one.parameters), "training": dict(one.training)}
    for axis, value in axes.items():
        family, _, key = axis.partition(".")
        if family == "attack":
            fields["parameters"] |= {key: value} if key in known else {}
        elif key in TRAINING_KEYS:
            fields["training"][key] = value
        else:
            fields[key] = value
    try:
        return Adversary.model_validate({**one.model_dump(), **fields})
    except ValidationError as error:
        raise RecipeError(f"sweep: {describe(error, Adversary)}") from error


def _attack_keys(one: Adversary) -> set[str]:
    own = _keys(attack_info(one.attack).parameters)
    return own | _keys(ShadowParameters) if _aim(one) == "off-task" else own


def _aim(one: Adversary) -> Aim:
    return "on-task" if one.target_task in {None, one.task} else "off-task"


def _keys(model: type[BaseModel]) -> set[str]:
    return {entry.alias or name for name, entry in model.model_fields.items()}
