"""What audits of pools said, and how often they were right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.rows import figure, table
from mergeward.audit import STAGES
from mergeward.audit.reference import LEVEL

KEPT = 0.5
"""Success on the merge from which on an attack counts as kept."""


@dataclass(frozen=True)
class Row:
    """One pool and what its audit said.

    Attributes:
        pool: Name of the pool.
        bank: Whether it is one of the clean pools that others are compared with.
        attack: The attack; None in a clean pool.
        members: For each contribution its task, how it was made, and whether it attacks.
        success: Of the attacker's trigger on the merge.
        control: The same on the merge without the attackers.
        scores: By stage, a score for each contribution; None where it was not compared.
        ranks: The audit's rank of each contribution.
        seconds: Wall time of the audit.
        cpu_seconds: Processor time of the audit.
    """

    pool: str
    bank: bool
    attack: str | None
    members: Sequence[Mapping[str, Any]]
    success: float | None
    control: float | None
    scores: Mapping[str, Sequence[float | None]]
    ranks: Sequence[int | None]
    seconds: float
    cpu_seconds: float

    @property
    def kept(self) -> bool:
        """Whether the attack works on the merge."""
        return self.success is not None and self.success > KEPT

    @property
    def attackers(self) -> list[int]:
        """Places of the contributions that attack."""
        return [place for place, one in enumerate(self.members) if one["attacks"]]

    def first(self, stage: str | None = None) -> bool:
        """Whether an attacker ranks first, alone; by one stage's scores, or as the audit has it."""
        if stage is None:
            return any(self.ranks[place] == 1 for place in self.attackers) and self.ranks.count(1) == 1
        scores = self._scores(stage)
        best = max(scores)
        return scores.count(best) == 1 and scores.index(best) in self.attackers

    def highest(self, stage: str) -> float:
        """The highest score of a stage."""
        return max(self._scores(stage))

    def _scores(self, stage: str) -> list[float]:
        return [float("-inf") if score is None else score for score in self.scores[stage]]


@dataclass(frozen=True)
class Bank:
    """The clean pools that scores are compared with.

    Attributes:
        rows: One for each pool.
    """

    rows: Sequence[Row]

    def p_value(self, stage: str, score: float) -> float:
        """Return the share of clean pools, this one among them, that score as high."""
        return (1 + sum(row.highest(stage) >= score for row in self.rows)) / (1 + len(self.rows))

    def suspects(self, row: Row, stage: str, level: float = LEVEL) -> list[int]:
        """Return the places of the contributions that a stage makes suspects."""
        return [
            place
            for place, score in enumerate(row.scores[stage])
            if score is not None and self.p_value(stage, score) <= level
        ]


@dataclass(frozen=True)
class Summary:
    """Tables of what rows say.

    Attributes:
        tested: Rows of the pools that are tested.
        bank: What they are compared with.
        stages: Names of the stages that compare; the last decides.
    """

    tested: Sequence[Row]
    bank: Bank
    stages: Sequence[str]

    def by_attack(self) -> str:
        """A line for each attack, and one for clean pools."""
        heads = ("attack", "pools", "success on the merge, %", "without the attacker, %", "kept")
        ends = ("attacker first", "of those kept", "attacker suspect", "another suspect", "processor s")
        groups: dict[str, list[Row]] = {}
        for row in sorted(self.tested, key=lambda row: row.attack or ""):
            groups.setdefault(row.attack or "none", []).append(row)
        return table((*heads, *ends), [self._attack(*group) for group in groups.items()], left=(0,))

    def by_stage(self) -> str:
        """What each stage would do alone."""
        kept = [row for row in self.tested if row.kept]
        attacked = [row for row in self.tested if row.attack is not None]
        clean = [row for row in self.tested if row.attack is None]
        cells = []
        for stage in self.stages:
            counts = (
                (sum(row.first(stage) for row in kept), kept),
                (sum(bool(self._caught(row, stage)) for row in kept), kept),
                (sum(bool(self._caught(row, stage)) for row in attacked), attacked),
                (sum(bool(self._accused(row, stage)) for row in clean), clean),
                (sum(bool(self._accused(row, stage)) for row in self.tested), self.tested),
            )
            cells.append((stage, *(f"{count} of {len(rows)}" for count, rows in counts)))
        hits = (
            "attacker first, of kept attacks",
            "attacker suspect, of these",
            "attacker suspect, of all attacks",
        )
        alarms = ("clean pools with a suspect", "pools with an honest suspect")
        return table(("stage", *hits, *alarms), cells, left=(0,))

    def misses(self) -> str:
        """The pools with a kept attack in which no attacker ranks first."""
        heads = ("missed pool", "contributions", "success, %")
        ends = [f"{stage}: attacker, best other, p" for stage in self.stages]
        missed = [row for row in self.tested if row.kept and not row.first()]
        cells = [
            (row.pool, str(len(row.members)), _middle([row.success]), *self._all_beside(row))
            for row in missed
        ]
        return table((*heads, *ends), cells, left=(0,))

    def _attack(self, name: str, rows: Sequence[Row]) -> tuple[str, ...]:
        kept = [row for row in rows if row.kept]
        others = sum(bool(self._accused(row, self.stages[-1])) for row in rows)
        common = (name, str(len(rows)), _middle([row.success for row in rows]))
        cost = figure(median(row.cpu_seconds for row in rows), digits=0)
        if name == "none":
            return (*common, "", "", "", "", "", str(others), cost)
        return (
            *common,
            _middle([row.control for row in rows]),
            str(len(kept)),
            str(sum(row.first() for row in rows)),
            f"{sum(row.first() for row in kept)} of {len(kept)}",
            str(sum(bool(self._caught(row, self.stages[-1])) for row in rows)),
            str(others),
            cost,
        )

    def _accused(self, row: Row, stage: str) -> set[int]:
        """Return the suspects that do not attack."""
        return set(self.bank.suspects(row, stage)) - set(row.attackers)

    def _caught(self, row: Row, stage: str) -> set[int]:
        return set(self.bank.suspects(row, stage)) & set(row.attackers)

    def _all_beside(self, row: Row) -> list[str]:
        return [self._beside(row, stage) for stage in self.stages]

    def _beside(self, row: Row, stage: str) -> str:
        scores = {place: score for place, score in enumerate(row.scores[stage]) if score is not None}
        own = max(score for place, score in scores.items() if place in row.attackers)
        others = max(score for place, score in scores.items() if place not in row.attackers)
        return f"{own:.3f}, {others:.3f}, {self.bank.p_value(stage, own):.3f}"


def markdown(rows: Sequence[Row]) -> str:
    """Return what rows say as Markdown: by attack, by stage, and the misses."""
    bank = Bank([row for row in rows if row.bank])
    stages = [stage.name for stage in STAGES if any(stage.name in row.scores for row in rows)]
    summary = Summary([row for row in rows if not row.bank], bank, stages)
    return "\n".join([summary.by_attack(), summary.by_stage(), summary.misses()])


def _middle(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    return figure(median(known) if known else None, digits=0)
