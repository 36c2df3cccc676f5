"""What an audit says: evidence, verdicts, ranks, and what it did not look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from mergeward.audit.budget import Budget
from mergeward.audit.finding import Finding
from mergeward.provenance import package_version

FORMAT = 1
"""Version of the JSON report; it grows when a key is renamed or removed."""

NOTHING_FOUND, SUSPECT, INCONCLUSIVE, NOTHING_EXAMINED, USAGE = range(5)
"""Exit codes of `mergeward audit`. They are those of scanners, and not those of the other commands."""


class Verdict(StrEnum):
    """What can be said of one model; "not judged" of a base alone, whose file is whole."""

    PASS = "pass"  # noqa: S105 - no password
    SUSPECT = "suspect"
    INCONCLUSIVE = "inconclusive"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Evidence:
    """What one stage found about one model.

    Attributes:
        stage: Name of the stage.
        verdict: What this stage alone would say. A stage that only ranks says "inconclusive".
        summary: The finding in words, on one line.
        figures: The numbers behind it, fit for JSON.
        score: The larger, the more it stands out; None where the stage does not compare.
        p_value: How often a pool of clean contributions has one that stands out as much; None without a
            reference. It holds for the pool: one in twenty clean pools has a contribution at 0.05 or below.
        decides: False where a later stage, which knows more, compares the model, too.
    """

    stage: str
    verdict: Verdict
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict, repr=False)
    score: float | None = None
    p_value: float | None = None
    decides: bool = True

    @property
    def heading(self) -> str:
        """The stage, and whether what it found is for information."""
        return self.stage if self.decides else f"{self.stage} (for information)"

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        return {
            "stage": self.stage,
            "verdict": self.verdict.value,
            "summary": self.summary,
            "score": self.score,
            "p_value": self.p_value,
            "decides": self.decides,
            "figures": dict(self.figures),
        }


@dataclass(frozen=True)
class Failure:
    """Why a model could not be examined further.

    Attributes:
        stage: Name of the stage that could not go on.
        reason: What was wrong, on one line.
    """

    stage: str
    reason: str


@dataclass(frozen=True)
class _Examined:
    """What base and contributions have in common.

    Attributes:
        name: What to call it.
        model: Where it is, as the recipe says.
        evidence: What each stage found.
        failure: Why the examination ended early, if it did.
    """

    name: str
    model: str
    evidence: tuple[Evidence, ...]
    failure: Failure | None = None
    best: ClassVar[Verdict] = Verdict.PASS
    """What is said of a model that every stage says it of."""

    @property
    def verdict(self) -> Verdict:
        """By what decides: suspect if any stage says so, `best` if every stage does and none failed."""
        found = {evidence.verdict for evidence in self.evidence if evidence.decides}
        if Verdict.SUSPECT in found:
            return Verdict.SUSPECT
        return self.best if found == {self.best} and self.failure is None else Verdict.INCONCLUSIVE

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        failure = self.failure and {"stage": self.failure.stage, "reason": self.failure.reason}
        return {
            "name": self.name,
            "model": self.model,
            "verdict": self.verdict.value,
            "failure": failure,
            "evidence": [one.to_json() for one in self.evidence],
        }


@dataclass(frozen=True)
class BaseReport(_Examined):
    """What was found about the base: its file only.

    The base is what contributions are compared with, so that no stage can tell whether it is bad: it never
    passes.
    """

    best: ClassVar[Verdict] = Verdict.NOT_JUDGED


@dataclass(frozen=True)
class ContributionReport(_Examined):
    """What was found about one contribution.

    Attributes:
        rank: 1 for the contribution that stands out most; equal ranks where nothing tells two apart. None
            where it was not compared. A rank is an order to look in and no verdict: some contribution is
            always the first.
    """

    rank: int | None = None

    @property
    def p_value(self) -> float | None:
        """That of the stage that decides; None without a reference."""
        found = (one.p_value for one in self.evidence if one.decides and one.p_value is not None)
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        return {**super().to_json(), "rank": self.rank, "p_value": self.p_value}


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        base: The base.
        contributions: One report for each contribution, in the recipe's order.
        stages: Names of the stages that ran.
        not_covered: What no stage looked at, in words.
        budget: How much was spent.
        not_examined: By stage that did not run, or part of a stage, why.
        findings: What was recovered from the merge, the most telling first.
    """

    base: BaseReport
    contributions: Sequence[ContributionReport]
    stages: Sequence[str]
    not_covered: Sequence[str]
    budget: Budget = Budget.QUICK
    not_examined: Mapping[str, str] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

    @property
    def examined(self) -> int:
        """How many contributions at least one stage found something out about."""
        return sum(bool(one.evidence) for one in self.contributions)

    @property
    def verdict(self) -> Verdict:
        """Suspect if the base or any contribution is, inconclusive if one is; pass is of contributions."""
        verdicts = {one.verdict for one in (self.base, *self.contributions)}
        if Verdict.SUSPECT in verdicts:
            return Verdict.SUSPECT
        return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PASS

    @property
    def exit_code(self) -> int:
        """What `mergeward audit` exits with."""
        if self.verdict is Verdict.SUSPECT:
            return SUSPECT
        if self.examined == 0:
            return NOTHING_EXAMINED
        return NOTHING_FOUND if self.verdict is Verdict.PASS else INCONCLUSIVE

    def to_json(self) -> dict[str, Any]:
        """Return the report with plain values; the same inputs give the same report."""
        return {
            "format": FORMAT,
            "mergeward": package_version(),
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "examined": self.examined,
            "base": self.base.to_json(),
            "contributions": [one.to_json() for one in self.contributions],
            "budget": self.budget.value,
            "stages": list(self.stages),
            "not_examined": dict(self.not_examined),
            "findings": [one.to_json() for one in self.findings],
            "not_covered": list(self.not_covered),
        }
