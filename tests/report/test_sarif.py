"""An audit as SARIF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, ValidationError

from audited import report
from mergeward.audit import AuditReport, BaseReport
from mergeward.report import audit_sarif


@pytest.fixture(scope="module")
def standard() -> Draft4Validator:
    """The standard's own schema, as Microsoft's `@microsoft/jest-sarif` 1.0.0-beta.0 (MIT) ships it."""
    path = Path(__file__).with_name("sarif-2.1.0-rtm.5.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft4Validator.check_schema(schema)
    return Draft4Validator(schema, format_checker=Draft4Validator.FORMAT_CHECKER)


def written(audit: AuditReport) -> dict[str, Any]:
    return dict(json.loads(json.dumps(audit_sarif(audit), allow_nan=False)))


def test_it_is_what_the_standard_asks_for(standard: Draft4Validator) -> None:
    log = written(report())
    standard.validate(log)
    for broken in (
        {**log, "version": "2.0.0"},
        {**log, "runs": {}},
        {**log, "more": 1},
        {**log, "$schema": "not a uri"},
    ):
        with pytest.raises(ValidationError):
            standard.validate(broken)


def test_an_audit_of_nothing_is_one_too(standard: Draft4Validator) -> None:
    standard.validate(written(AuditReport(BaseReport("base", "b", ()), (), (), ())))


def test_what_could_not_be_examined_is_open() -> None:
    results = audit_sarif(report())["runs"][0]["results"]
    assert "broken: truncated" in [one["message"]["text"] for one in results if one["kind"] == "open"]


def test_what_decides_nothing_is_information() -> None:
    results = audit_sarif(report())["runs"][0]["results"]
    told = [one["message"]["text"] for one in results if one["kind"] == "informational"]
    assert told == ["base: file whole", "bad: ranked"]


def test_a_suspect_is_an_error_and_nothing_else_is() -> None:
    results = audit_sarif(report())["runs"][0]["results"]
    by_kind = {
        kind: [one["message"]["text"] for one in results if one["kind"] == kind] for kind in ("fail", "pass")
    }
    assert by_kind["fail"] == ["bad: harder without"]
    assert by_kind["pass"] == ["good: file whole", "good: ranked", "bad: file whole"]
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
