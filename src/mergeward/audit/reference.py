"""What clean pools score: what a score has to be compared with before it says anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mergeward.audit.report import Evidence, Verdict
from mergeward.audit.stage import StageResult
from mergeward.errors import DataError, UsageError

FORMAT = 3
MAX_BYTES = 1 << 20
LEVEL = 0.05
"""Share of clean pools that may come out with a suspect."""

PASS_FROM = 0.2
"""A p-value below this is no pass: the reference has few pools, and some attacks stand out little."""

FEWEST = 19
"""Of fewer pools no score makes a suspect, so that none may clear anybody."""


@dataclass(frozen=True)
class Setting:
    """What scores depend on beside the contributions.

    Attributes:
        base: SHA-256 of the base.
        method: The recipe's method, by its first name.
        parameters: The recipe's `shared` parameters, and each contribution's `own` as JSON beside its task.
        scope: The recipe's scope.
        budget: What was spent on each pool.
        tasks: Names of the tasks that contributions claim, sorted; one for each contribution.
    """

    base: str
    method: str
    parameters: Mapping[str, Any]
    scope: str
    budget: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """The highest score of each of many clean pools.

    A suspect's score is compared with the highest of whole pools, because some contribution of a clean pool
    always stands out most.

    Attributes:
        setting: What the pools were made and audited with.
        highest: By stage, one number a pool.
        made: How the contributions were made, for people.
    """

    setting: Setting
    highest: Mapping[str, Sequence[float]]
    made: Mapping[str, Any]

    def p_value(self, stage: str, score: float) -> float:
        """Return the share of pools, this one among them, in which something scores as high."""
        pools = self.highest[stage]
        return (1 + sum(other >= score for other in pools)) / (1 + len(pools))

    def check(self, setting: Setting) -> None:
        """Check that scores of an audit may be compared with these.

        Raises:
            UsageError: They were made in another setting; the text says what differs.
        """
        ours, theirs = asdict(self.setting), asdict(setting)
        for key, value in ours.items():
            if value != theirs[key]:
                raise UsageError(f"the reference is for {key} {value!r}, this audit has {theirs[key]!r}")

    def calibrated(self, results: Sequence[StageResult]) -> list[StageResult]:
        """Return what stages found, with p-values, and verdicts by them."""
        return [
            replace(
                result,
                evidence={name: self._judged(one, result.clears) for name, one in result.evidence.items()},
            )
            for result in results
        ]

    def _judged(self, evidence: Evidence, clears: bool) -> Evidence:
        if evidence.score is None or evidence.stage not in self.highest:
            return evidence
        pools = len(self.highest[evidence.stage])
        p_value = self.p_value(evidence.stage, evidence.score)
        verdict = Verdict.INCONCLUSIVE
        if p_value <= LEVEL:
            verdict = Verdict.SUSPECT
        elif p_value >= PASS_FROM and clears and pools >= FEWEST:
            verdict = Verdict.PASS
        summary = f"{evidence.summary}; p {p_value:.3g} by {pools} clean pools"
        return replace(evidence, p_value=p_value, verdict=verdict, summary=summary)

    def to_json(self) -> dict[str, Any]:
        """Return everything with plain values."""
        return {
            "format": FORMAT,
            "setting": asdict(self.setting),
            "highest": {stage: list(scores) for stage, scores in self.highest.items()},
            "made": dict(self.made),
        }


def read_reference(path: str | Path) -> Reference:
    """Read a reference that `mergeward reference` wrote.

    Raises:
        DataError: The file is missing, too large, or not of this form.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: a reference has at most {MAX_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(f"{path}: expected a reference of format {FORMAT}, found {content['format']!r}")
        setting = Setting(**{**content["setting"], "tasks": tuple(content["setting"]["tasks"])})
        highest = {str(stage): _numbers(scores) for stage, scores in content["highest"].items()}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: no reference, as 'mergeward reference' writes one ({error})") from error
    return Reference(setting, highest, content.get("made", {}))


def _numbers(scores: Sequence[Any]) -> tuple[float, ...]:
    found = tuple(float(score) for score in scores)
    if not found or not all(map(math.isfinite, found)):
        raise ValueError("expected finite scores")
    return found
