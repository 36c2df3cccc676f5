"""Verdicts and exit codes from evidence."""

from __future__ import annotations

import json

import pytest

from mergeward.audit import AuditReport, BaseReport, ContributionReport, Evidence, Failure, Verdict

PASS, SUSPECT, INCONCLUSIVE = Verdict.PASS, Verdict.SUSPECT, Verdict.INCONCLUSIVE
NOT_JUDGED = Verdict.NOT_JUDGED
BROKEN = Failure("hygiene", "truncated")


def contribution(*verdicts: Verdict, failure: Failure | None = None) -> ContributionReport:
    evidence = tuple(Evidence(f"stage-{index}", one, "words") for index, one in enumerate(verdicts))
    return ContributionReport("c", "path/c", evidence, failure, rank=1)


def report(*contributions: ContributionReport, base: Verdict = NOT_JUDGED) -> AuditReport:
    return AuditReport(
        BaseReport("base", "path/base", (Evidence("hygiene", base, "words"),)),
        contributions,
        ("hygiene",),
        ("x",),
    )


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (contribution(PASS), PASS),
        (contribution(PASS, PASS), PASS),
        (contribution(PASS, INCONCLUSIVE), INCONCLUSIVE),
        (contribution(SUSPECT, INCONCLUSIVE, PASS), SUSPECT),
        (contribution(), INCONCLUSIVE),
        (contribution(failure=BROKEN), INCONCLUSIVE),
        (contribution(PASS, failure=BROKEN), INCONCLUSIVE),
        (contribution(SUSPECT, failure=BROKEN), SUSPECT),
    ],
)
def test_a_contribution_passes_only_what_was_examined_whole(
    one: ContributionReport, verdict: Verdict
) -> None:
    assert one.verdict is verdict


def test_a_base_never_passes_and_its_file_counts() -> None:
    def verdict(*verdicts: Verdict, failure: Failure | None = None) -> Verdict:
        evidence = tuple(Evidence("hygiene", one, "words") for one in verdicts)
        return BaseReport("base", "path/base", evidence, failure).verdict

    assert verdict(NOT_JUDGED) is NOT_JUDGED
    assert verdict(SUSPECT) is SUSPECT
    assert verdict() is verdict(PASS) is verdict(NOT_JUDGED, failure=BROKEN) is INCONCLUSIVE


@pytest.mark.parametrize(("shown", "deciding"), [(SUSPECT, PASS), (PASS, SUSPECT), (INCONCLUSIVE, PASS)])
def test_evidence_for_information_decides_nothing(shown: Verdict, deciding: Verdict) -> None:
    evidence = (
        Evidence("cheap", shown, "words", p_value=0.01, decides=False),
        Evidence("dear", deciding, "words", p_value=0.5),
    )
    one = ContributionReport("c", "path/c", evidence)
    assert (one.verdict, one.p_value) == (deciding, 0.5)


@pytest.mark.parametrize(
    ("whole", "code"),
    [
        (report(contribution(PASS), contribution(PASS)), 0),
        (report(contribution(PASS), contribution(SUSPECT)), 1),
        (report(contribution(SUSPECT), contribution(failure=BROKEN)), 1),
        (report(contribution(PASS), base=SUSPECT), 1),
        (report(contribution(PASS), contribution(INCONCLUSIVE)), 2),
        (report(contribution(PASS), contribution(failure=BROKEN)), 2),
        (report(contribution(PASS), contribution()), 2),
        (report(contribution(PASS), base=INCONCLUSIVE), 2),
        (report(contribution(failure=BROKEN), contribution(failure=BROKEN)), 3),
        (report(contribution()), 3),
    ],
)
def test_exit_codes(whole: AuditReport, code: int) -> None:
    assert whole.exit_code == code


def test_json_has_these_keys_and_no_others() -> None:
    content = json.loads(json.dumps(report(contribution(PASS, failure=BROKEN)).to_json()))
    assert list(content) == [
        "format", "mergeward", "verdict", "exit_code", "examined", "base", "contributions", "budget",
        "stages", "not_examined", "findings", "not_covered",
    ]  # fmt: skip
    assert content["format"] == 1
    assert content["contributions"] == [
        {
            "name": "c",
            "model": "path/c",
            "verdict": "inconclusive",
            "failure": {"stage": "hygiene", "reason": "truncated"},
            "evidence": [
                {
                    "stage": "stage-0",
                    "verdict": "pass",
                    "summary": "words",
                    "score": None,
                    "p_value": None,
                    "decides": True,
                    "figures": {},
                }
            ],
            "rank": 1,
            "p_value": None,
        }
    ]
