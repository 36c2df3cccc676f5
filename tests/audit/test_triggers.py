"""Inversion on base, merge and leave-one-out merges of a real, tiny pool."""

from __future__ import annotations

import json

import pytest

import mergeward as mw
from attacked_pool import ATTACKED, TARGET, Attacked
from mergeward.audit import AuditReport, Verdict, triggers
from mergeward.audit.budget import Budget
from mergeward.audit.inversion import Effort


@pytest.fixture(scope="module", autouse=True)
def little_effort() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(triggers.SCREEN, Budget.STANDARD, Effort(20, 8, judged=12))
        patch.setitem(triggers.PURSUE, Budget.STANDARD, Effort(20, 8, judged=12))
        yield


@pytest.fixture(scope="module")
def report(attacked: Attacked) -> AuditReport:
    return mw.audit(attacked.recipe())


def test_it_ranks_the_backdoored_contribution_first(report: AuditReport) -> None:
    ranks = {one.name: one.rank for one in report.contributions}
    assert ranks["poisoned"] == 1
    assert (ATTACKED, TARGET) in {(one.task, one.class_name) for one in report.findings}


def test_it_decides_nothing_without_a_reference(report: AuditReport) -> None:
    assert "inversion" in report.stages
    found = [one for member in report.contributions for one in member.evidence if one.stage == "inversion"]
    assert {one.verdict for one in found} == {Verdict.INCONCLUSIVE}
    assert {one.p_value for one in found} == {None}
    assert len(found) == 3


def test_a_finding_has_what_a_reader_needs(report: AuditReport) -> None:
    first = report.findings[0]
    names = {one.name for one in report.contributions}
    assert set(first.falls) == set(first.without) == names
    assert first.mask.shape == (1, 16, 16)
    assert first.pattern.shape == (3, 16, 16)
    assert 0 <= float(first.mask.min()) <= float(first.mask.max()) <= 1
    json.dumps(first.to_json(), allow_nan=False)


def test_the_same_pool_gives_the_same_report(attacked: Attacked, report: AuditReport) -> None:
    assert mw.audit(attacked.recipe()).to_json() == report.to_json()
