"""An audit as SARIF 2.1.0, the form in which scanners tell other programs what they found."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from mergeward.audit import STAGES, AuditReport, BaseReport, ContributionReport, Evidence, Verdict
from mergeward.provenance import package_version

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

SHOWN = {"kind": "informational", "level": "none"}
"""What evidence that decides nothing is."""

KINDS = {
    Verdict.SUSPECT: {"kind": "fail", "level": "error"},
    Verdict.INCONCLUSIVE: {"kind": "open", "level": "none"},
    Verdict.PASS: {"kind": "pass", "level": "none"},
    Verdict.NOT_JUDGED: SHOWN,
}
"""What a verdict is called there; only a failed check has a level."""


def audit_sarif(report: AuditReport) -> dict[str, Any]:
    """Return an audit as a SARIF log: a result for each model and stage, a note on what was left out.

    Args:
        report: What the audit found.
    """
    models: list[BaseReport | ContributionReport] = [report.base, *report.contributions]
    failures = [one.failure for one in models if one.failure is not None]
    run = {
        "tool": {"driver": _driver()},
        "invocations": [
            {
                "executionSuccessful": not failures,
                "exitCode": report.exit_code,
                "toolExecutionNotifications": _notifications(report),
            }
        ],
        "artifacts": [_artifact(one) for one in models],
        "results": [
            result
            for place, one in enumerate(models)
            for result in (*(_result(one, found, place) for found in one.evidence), *_failure(one, place))
        ],
        "properties": {
            "verdict": report.verdict.value,
            "budget": report.budget.value,
            "findings": [one.to_json() for one in report.findings],
        },
    }
    return {"$schema": SCHEMA, "version": VERSION, "runs": [run]}


def _driver() -> dict[str, Any]:
    rules = [{"id": stage.name, "shortDescription": {"text": f"{stage.summary}."}} for stage in STAGES]
    return {"name": "mergeward", "version": package_version(), "rules": rules}


def _notifications(report: AuditReport) -> list[dict[str, Any]]:
    failed = [
        {"level": "error", "message": {"text": f"{one.name}: {one.failure.stage}: {one.failure.reason}"}}
        for one in report.contributions
        if one.failure is not None
    ]
    left_out = [f"{stage}: not examined: {reason}" for stage, reason in report.not_examined.items()]
    uncovered = [f"not covered: {text}" for text in report.not_covered]
    return failed + [{"level": "note", "message": {"text": text}} for text in left_out + uncovered]


def _artifact(one: BaseReport | ContributionReport) -> dict[str, Any]:
    return {"location": {"uri": _uri(one.model)}, "description": {"text": one.name}}


def _result(one: BaseReport | ContributionReport, evidence: Evidence, place: int) -> dict[str, Any]:
    return {
        "ruleId": evidence.stage,
        **(KINDS[evidence.verdict] if evidence.decides else SHOWN),
        "message": {"text": f"{one.name}: {evidence.summary}"},
        "locations": [_location(one, place)],
        "properties": {
            "score": evidence.score,
            "p_value": evidence.p_value,
            "figures": dict(evidence.figures),
        },
    }


def _failure(one: BaseReport | ContributionReport, place: int) -> list[dict[str, Any]]:
    """Return what is open where an examination ended early."""
    if one.failure is None:
        return []
    return [
        {
            "ruleId": one.failure.stage,
            **KINDS[Verdict.INCONCLUSIVE],
            "message": {"text": f"{one.name}: {one.failure.reason}"},
            "locations": [_location(one, place)],
        }
    ]


def _location(one: BaseReport | ContributionReport, place: int) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(one.model), "index": place}}}


def _uri(model: str) -> str:
    """Return a path as a URI; a hub id is taken as a relative one."""
    path = Path(model)
    return path.as_uri() if path.is_absolute() else quote(model)
