"""Pools of contributions to audit: clean ones, and ones with an attacker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.contributions import Made, tasks
from mergeward.seeding import numpy_generator

SIZES = range(4, 9)
"""How many contributions a pool has."""

DRAWS = 20
"""How often a pool is drawn, for each that is wanted, before there are no more that differ."""


@dataclass(frozen=True)
class Member:
    """One contribution of a pool.

    Attributes:
        path: Its folder.
        task: The task that it is handed in for.
        made: How it was made.
        attacks: Whether it carries a backdoor, or half of one.
    """

    path: Path
    task: str
    made: Made

    @property
    def attacks(self) -> bool:
        """Whether it carries a backdoor, or half of one."""
        return self.made.attacks


@dataclass(frozen=True)
class Composed:
    """One pool.

    Attributes:
        name: A name of its own.
        attacker: Who attacks; None in a clean pool.
        members: In the recipe's order.
    """

    name: str
    attacker: Made | None
    members: tuple[Member, ...]


def attacked(made: Sequence[Made], seeds: Collection[int], rounds: int) -> Iterator[Composed]:
    """Yield pools with an attacker: every attacker of the seeds, as often as there are rounds."""
    clean = _clean(made, seeds)
    for index in range(rounds):
        for one in made:
            if one.attacks and one.seed in seeds:
                name = f"{one.label} {one.seed} {index}"
                yield Composed(name, one, _members(name, _attackers(name, one, tasks(made)), one, clean))


def clean(made: Sequence[Made], seeds: Collection[int], count: int) -> Iterator[Composed]:
    """Yield pools of clean contributions alone, no two of the same ones; fewer where there are no more."""
    chosen, seen = _clean(made, seeds), set[frozenset[Path]]()
    for index in range(DRAWS * count):
        name = f"clean {'-'.join(map(str, sorted(seeds)))} {index}"
        members = _members(name, [], None, chosen)
        who = frozenset(member.path for member in members)
        if who not in seen and len(seen) < count:
            seen.add(who)
            yield Composed(name, None, members)


def _clean(made: Sequence[Made], seeds: Collection[int]) -> list[Made]:
    return [one for one in made if not one.attacks and one.seed in seeds]


def _attackers(name: str, one: Made, known: Sequence[str]) -> list[Member]:
    """Return the attacker, and a partner under the name of another task."""
    first = Member(one.path, one.task, one)
    if one.partner is None:
        return [first]
    others = [task for task in known if task != one.task]
    return [first, Member(one.partner, str(_random(name, "partner").choice(others)), one)]


def _members(
    name: str, attackers: Sequence[Member], attacker: Made | None, chosen: Sequence[Made]
) -> tuple[Member, ...]:
    """Fill a pool with clean contributions: one to each task, then second ones; shuffled.

    A task that is attacked off-task comes first, so that somebody claims it.
    """
    random = _random(name, "members")
    size = int(random.choice(SIZES))
    taken = {member.task for member in attackers}
    wanted = None if attacker is None else attacker.target_task
    shuffled = [chosen[place] for place in random.permutation(len(chosen))]
    shuffled.sort(key=lambda one: one.task != wanted)
    firsts, seconds = [], []
    for one in shuffled:
        (seconds if one.task in taken else firsts).append(one)
        taken.add(one.task)
    added = [Member(one.path, one.task, one) for one in (*firsts, *seconds)]
    members = [*attackers, *added][:size]
    return tuple(members[place] for place in random.permutation(len(members)))


def _random(name: str, purpose: str) -> np.random.Generator:
    return numpy_generator(0, "audit benchmark", name, purpose)
