"""From a suite to its cells, controls included. Nothing is read or run here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from mergeward.bench.models import Backdoor, Base, Contribution, Hardened, Merged, Model
from mergeward.bench.suite import NONE, Adversary, AttackEntry, DefenseEntry, Suite
from mergeward.bench.variants import (
    Axes,
    Variant,
    absences,
    attack_variants,
    defense_variants,
    method_variants,
    task_counts,
)
from mergeward.errors import UsageError, unknown_name
from mergeward.train import FinetuneConfig

Kind: TypeAlias = Literal[
    "base", "fine-tuned", "attacker alone", "clean merge", "clean retrain", "attacked merge"
]


@dataclass(frozen=True)
class Cell:
    """One model of a suite and what is measured on it: a pure function of its configuration.

    Attributes:
        kind: What the model is for: "attacked merge" is what a suite asks about, the others are controls.
        seed: Seed of splits, contributions and merges.
        tasks: Specs of the tasks of its pool, those that nobody contributes among them.
        model: How the model comes about.
        measured: Specs of the tasks it is measured on.
        triggers: Contributions whose triggers are pasted, by the attack's identifier (see `trigger_id`).
        attack: Which attack, as the suite calls it, or `none`.
        method: Which merge method, as the suite calls it, or `none`.
        defense: Which defense, as the suite calls it, or `none`.
        axes: Where on the suite's axes it lies.
        transfer: Whether triggers are also pasted on tasks that they do not aim at.
    """

    kind: Kind
    seed: int
    tasks: tuple[str, ...]
    model: Model
    measured: tuple[str, ...]
    triggers: tuple[tuple[str, Contribution], ...] = ()
    attack: str = NONE
    method: str = NONE
    defense: str = NONE
    axes: Axes = field(default_factory=dict)
    transfer: bool = False

    @property
    def label(self) -> str:
        """What it is, in one line."""
        return cell_label(
            self.kind, (self.attack, self.method, self.defense), self.measured, self.axes, self.seed
        )


@dataclass(frozen=True)
class Attacked:
    """One variant of an attack in one pool.

    Attributes:
        name: What the suite calls the attack.
        axes: Where it lies on the axes of attacks.
        places: The contributions that attackers make, by place.
    """

    name: str
    axes: Axes
    places: Mapping[int, Contribution]

    @property
    def triggers(self) -> tuple[tuple[str, Contribution], ...]:
        """The triggers, by the attack's identifier."""
        own = [one for one in self.places.values() if not one.is_partner]
        return tuple((trigger_id(self.name, self.axes), one) for one in own)


def cell_label(kind: str, names: Sequence[str], tasks: Sequence[str], axes: Axes, seed: int) -> str:
    """Return what a cell is, in one line; of several tasks, a cell without names is told by the first.

    Example:
        >>> cell_label("clean merge", ("none", "ties", "none"), (), {"method.weight": 0.3}, 0)
        'clean merge: ties method.weight=0.3 seed 0'
    """
    told = [name for name in names if name != NONE]
    places = [f"{key}={value}" for key, value in axes.items()]
    return " ".join([f"{kind}:", *(told or tasks[:1]), *places, f"seed {seed}"])


def trigger_id(attack: str, axes: Axes) -> str:
    """Return what the triggers of an attack are called: its name, with where it lies on the axes of attacks.

    Example:
        >>> trigger_id("badnets", {"attack.patch_size": 3, "method.weight": 0.3})
        'badnets patch_size=3'
    """
    own = [f"{key.partition('.')[2]}={value}" for key, value in axes.items() if is_of_attacks(key)]
    return " ".join([attack, *own])


def expand(suite: Suite, tasks: Sequence[str]) -> list[Cell]:
    """Return the cells of a suite.

    Args:
        suite: A checked suite.
        tasks: Specs of its tasks.

    Raises:
        UsageError: An attack names a task that is not among them.
    """
    return [
        cell
        for seed in suite.seeds
        for count, own in task_counts(suite, len(tasks))
        for absent, axes in absences(suite, count)
        for cell in _Pool(suite, seed, tuple(tasks[:count]), absent, {**own, **axes}).cells()
    ]


@dataclass(frozen=True)
class _Pool:
    """The cells of one seed and one list of tasks, some of which nobody may contribute."""

    suite: Suite
    seed: int
    tasks: tuple[str, ...]
    absent: frozenset[int]
    axes: Axes

    def cells(self) -> Iterator[Cell]:
        attacked = [self._attacked(variant) for variant in attack_variants(self.suite)]
        every = tuple(itertools.chain.from_iterable(one.triggers for one in attacked))
        yield self._cell("base", Base(), triggers=every)
        for place, task in enumerate(self.tasks):
            yield self._cell("fine-tuned", self._clean[place], measured=(task,))
        for one in attacked:
            for contribution in one.places.values():
                yield self._alone(one, contribution)
        yield from self._merges("clean merge", self._with({}), every)
        for places, sharing in _by_retrain(attacked):
            triggers = tuple(itertools.chain.from_iterable(one.triggers for one in sharing))
            yield from self._merges("clean retrain", self._with(places), triggers)
        for one in attacked:
            yield from self._merges("attacked merge", self._with(one.places), one.triggers, one)

    @property
    def _clean(self) -> tuple[Contribution, ...]:
        training = FinetuneConfig(**self.suite.training, seed=self.seed)  # type: ignore[arg-type]
        return tuple(
            Contribution(task, self.seed, training, published=self.suite.published(task))
            for task in self.tasks
        )

    def _with(self, places: Mapping[int, Contribution]) -> tuple[Contribution, ...]:
        """Return what is merged, with some contributions in place of the clean ones."""
        whole = enumerate(self._clean)
        return tuple(places.get(place, clean) for place, clean in whole if place not in self.absent)

    def _attacked(self, variant: Variant[AttackEntry]) -> Attacked:
        made = [entry for one in variant.entry.adversaries for entry in self._contributed(one)]
        places = dict(made)
        if len(places) < len(made):
            raise UsageError(
                f"suite {self.suite.name}: attack {variant.entry.name!r} has two attackers in one place"
            )
        own = [entry for entry in places.values() if not entry.is_partner]
        aims = [entry.backdoor.target_task for entry in own if entry.backdoor]
        if len(set(aims)) < len(aims):
            raise UsageError(
                f"suite {self.suite.name}: attack {variant.entry.name!r} has two attackers of one task; "
                "their figures could not be told apart"
            )
        if self.absent & places.keys():
            raise UsageError(
                f"suite {self.suite.name}: sweep.absent: the attacker of {variant.entry.name!r} is left out"
            )
        return Attacked(variant.entry.name, variant.axes, places)

    def _contributed(self, adversary: Adversary) -> Iterator[tuple[int, Contribution]]:
        place = self._place(adversary.task)
        contribution = self._backdoored(adversary, place)
        yield place, contribution
        if adversary.partner is not None:
            yield self._place(adversary.partner), replace(contribution, is_partner=True)

    def _backdoored(self, adversary: Adversary, place: int) -> Contribution:
        training = FinetuneConfig(
            **{**self.suite.training, **adversary.training},  # type: ignore[arg-type]
            seed=self.seed,
        )
        target = place if adversary.target_task is None else self._place(adversary.target_task)
        backdoor = Backdoor(
            adversary.attack, self.tasks[target], adversary.target_class, adversary.parameters
        )
        return Contribution(self.tasks[place], self.seed, training, backdoor)

    def _place(self, task: str | int) -> int:
        if isinstance(task, str):
            if task not in self.tasks:
                raise unknown_name(f"task of suite {self.suite.name}", task, self.tasks)
            return self.tasks.index(task)
        if not 0 <= task < len(self.tasks):
            raise UsageError(
                f"suite {self.suite.name}: an attack names task {task}, expected 0 to {len(self.tasks) - 1}"
            )
        return task

    def _alone(self, attacked: Attacked, contribution: Contribution) -> Cell:
        backdoor = contribution.backdoor
        measured = dict.fromkeys((contribution.task, backdoor.target_task if backdoor else contribution.task))
        own = tuple(entry for entry in attacked.triggers if entry[1] is contribution)
        return self._cell(
            "attacker alone",
            contribution,
            measured=tuple(measured),
            triggers=own,
            attack=attacked.name,
            axes=attacked.axes,
        )

    def _merges(
        self,
        kind: Kind,
        pool: tuple[Contribution, ...],
        triggers: tuple[tuple[str, Contribution], ...],
        attacked: Attacked | None = None,
    ) -> Iterator[Cell]:
        for method, defense in itertools.product(method_variants(self.suite), defense_variants(self.suite)):
            entry = method.entry
            merged = Merged(pool, entry.method, entry.parameters, self.seed, entry.surgery)
            own = {} if attacked is None else attacked.axes
            yield self._cell(
                kind,
                _hardened(merged, defense),
                triggers=triggers,
                attack=NONE if attacked is None else attacked.name,
                method=method.entry.name,
                defense=defense.entry.name,
                axes={**own, **method.axes, **defense.axes},
            )

    def _cell(
        self,
        kind: Kind,
        model: Model,
        *,
        measured: tuple[str, ...] | None = None,
        triggers: tuple[tuple[str, Contribution], ...] = (),
        axes: Axes | None = None,
        **names: str,
    ) -> Cell:
        return Cell(
            kind,
            self.seed,
            self.tasks,
            model,
            self.tasks if measured is None else measured,
            triggers,
            axes={**self.axes, **(axes or {})},
            transfer=self.suite.transfer,
            **names,
        )


def _hardened(merged: Merged, defense: Variant[DefenseEntry]) -> Model:
    if defense.entry.defense == NONE:
        return merged
    return Hardened(merged, defense.entry.defense, defense.entry.parameters)


def _by_retrain(
    attacked: Sequence[Attacked],
) -> list[tuple[dict[int, Contribution], list[Attacked]]]:
    """Group attacks by what a clean retrain in the attackers' places would be."""
    groups: list[tuple[dict[int, Contribution], list[Attacked]]] = []
    for one in attacked:
        retrain = {place: _retrained(contribution) for place, contribution in one.places.items()}
        for known, members in groups:
            if known == retrain:
                members.append(one)
                break
        else:
            groups.append((retrain, [one]))
    return groups


def _retrained(contribution: Contribution) -> Contribution:
    """Train as the attacker did, with another seed and without the backdoor; a partner with one more."""
    training = replace(contribution.training, seed=contribution.training.seed + 1 + contribution.is_partner)
    return replace(contribution, training=training, backdoor=None, is_partner=False)


def is_of_attacks(axis: str) -> bool:
    """Whether an axis is one of attacks, which merges without an attack do not lie on."""
    return axis.startswith(("attack.", "attacker."))
