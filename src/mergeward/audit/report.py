"""What an audit says: evidence, verdicts, ranks, and what it did not look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mergeward.provenance import package_version

FORMAT = 1
"""Version of the JSON report; it grows when a key is renamed or removed."""

NOTHING_FOUND, SUSPECT, INCONCLUSIVE, NOTHING_EXAMINED, USAGE = range(5)
"""Exit codes of `mergeward audit`. They are those of scanners, and not those of the other commands."""


class Verdict(StrEnum):
    """What can be said of one contribution."""

    PASS = "pass"  # noqa: S105 - no password
    SUSPECT = "suspect"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Evidence:
    """What one stage found about one model.

    Attributes:
        stage: Name of the stage.
        verdict: What this stage alone would say. A stage that only ranks says "inconclusive".
        summary: The finding in words, on one line.
        figures: The numbers behind it, fit for JSON.
    """

    stage: str
    verdict: Verdict
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict, repr=False)


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

    @property
    def verdict(self) -> Verdict:
        """Suspect if any stage says so, pass only if every stage does and none failed, else inconclusive."""
        found = {evidence.verdict for evidence in self.evidence}
        if Verdict.SUSPECT in found:
            return Verdict.SUSPECT
        return Verdict.PASS if found == {Verdict.PASS} and self.failure is None else Verdict.INCONCLUSIVE

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        failure = self.failure and {"stage": self.failure.stage, "reason": self.failure.reason}
        return {
            "name": self.name,
            "model": self.model,
            "verdict": self.verdict.value,
            "failure": failure,
            "evidence": [
                {
                    "stage": one.stage,
                    "verdict": one.verdict.value,
                    "summary": one.summary,
                    "figures": dict(one.figures),
                }
                for one in self.evidence
            ],
        }


@dataclass(frozen=True)
class BaseReport(_Examined):
    """What was found about the base: its file only. The base is what contributions are compared with."""


@dataclass(frozen=True)
class ContributionReport(_Examined):
    """What was found about one contribution.

    Attributes:
        rank: 1 for the contribution that stands out most; equal ranks where nothing tells two apart. None
            where it was not compared. A rank is an order to look in and no verdict: some contribution is
            always the first.
    """

    rank: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        return {**super().to_json(), "rank": self.rank}


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        base: The base.
        contributions: One report for each contribution, in the recipe's order.
        stages: Names of the stages that ran.
        not_covered: What no stage looked at, in words.
    """

    base: BaseReport
    contributions: Sequence[ContributionReport]
    stages: Sequence[str]
    not_covered: Sequence[str]

    @property
    def examined(self) -> int:
        """How many contributions at least one stage found something out about."""
        return sum(bool(one.evidence) for one in self.contributions)

    @property
    def verdict(self) -> Verdict:
        """Suspect if the base or any contribution is, pass only if all pass, else inconclusive."""
        verdicts = {one.verdict for one in (self.base, *self.contributions)}
        if Verdict.SUSPECT in verdicts:
            return Verdict.SUSPECT
        return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE

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
            "stages": list(self.stages),
            "not_covered": list(self.not_covered),
        }
