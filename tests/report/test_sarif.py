"""An audit as SARIF."""

from __future__ import annotations

import json

import pytest

from audited import report
from mergeward.audit import AuditReport, BaseReport
from mergeward.report import audit_sarif
from sarif_schema import validate


def test_it_is_what_the_standard_asks_for() -> None:
    log = json.loads(json.dumps(audit_sarif(report()), allow_nan=False))
    validate(log)
    for broken in ({**log, "version": "2.0.0"}, {**log, "runs": {}}, {**log, "more": 1}):
        with pytest.raises(AssertionError):
            validate(broken)


def test_an_audit_of_nothing_is_one_too() -> None:
    validate(audit_sarif(AuditReport(BaseReport("base", "b", ()), (), (), ())))


def test_a_suspect_is_an_error_and_nothing_else_is() -> None:
    results = audit_sarif(report())["runs"][0]["results"]
    by_kind = {
        kind: [one["message"]["text"] for one in results if one["kind"] == kind] for kind in ("fail", "pass")
    }
    assert by_kind["fail"] == ["bad: harder without"]
    assert len(by_kind["pass"]) == 5
    for one in results:
        assert one["level"] == ("error" if one["kind"] == "fail" else "none")


def test_results_point_to_models_and_rules() -> None:
    run = audit_sarif(report())["runs"][0]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    for one in run["results"]:
        assert one["ruleId"] in rules
        place = one["locations"][0]["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
    assert run["artifacts"][0]["location"]["uri"] == "some/base%20model"
    assert run["artifacts"][1]["location"]["uri"] == "file:///models/good%20one"


def test_what_failed_and_what_was_not_looked_at_are_notifications() -> None:
    invocation = audit_sarif(report())["runs"][0]["invocations"][0]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 1)
    notes = [(one["level"], one["message"]["text"]) for one in invocation["toolExecutionNotifications"]]
    assert notes == [
        ("error", "broken: hygiene: truncated"),
        ("note", "margins: not examined: not part of a standard audit"),
        ("note", "not covered: what <nobody> looks at"),
    ]
