"""Triggers recovered from a merge, tried on merges that leave one contribution out."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator

import pytest

import mergeward as mw
from attacked_pool import Attacked
from mergeward.audit import AuditReport, Pool, StageResult, Verdict, triggers
from mergeward.audit.budget import Budget
from mergeward.audit.inversion import Aim, Effort, invert
from mergeward.errors import DataError, MergewardError, UnsupportedError
from watcher import Watcher, noise_tasks


@pytest.fixture(scope="module", autouse=True)
def little_effort() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(triggers.SCREEN, Budget.STANDARD, Effort(20, 8, judged=12))
        patch.setitem(triggers.PURSUE, Budget.STANDARD, Effort(20, 8, judged=12))
        patch.setenv("MERGEWARD_THREADS", "1")  # as every test has; the last bits depend on it
        yield


@pytest.fixture(scope="module")
def report(attacked: Attacked) -> AuditReport:
    return mw.audit(attacked.recipe())


class Watchers:
    """A laboratory whose merges watch a corner when one of the contributions teaches it."""

    seed = 0
    tasks = tuple(noise_tasks())
    class_names = (("bright", "dark", "red"), ("red", "bright"))

    def base(self) -> Watcher:
        return Watcher(0.1)

    def merged(self, base: object, contributions: Collection[str], scope: object, *, size: int) -> Watcher:
        if "huge" in contributions or {"half", "other half"} <= set(contributions):
            return Watcher(float("inf"))
        if "balance" not in contributions and "weight" in contributions and len(contributions) > 1:
            return Watcher(float("inf"))
        return Watcher(3.0 if "bad" in contributions else 0.1)

    def stand_in(self, size: int) -> str | None:
        return None if size > 2 else f"{size} are too few"

    def fortified(self, base: object, contributions: object) -> Watcher:
        return Watcher(0.1)


def watched(*names: str, budget: Budget = Budget.STANDARD) -> StageResult:
    models = dict.fromkeys(names)
    return triggers.run(Pool(None, models, (), budget, Watchers()))


def test_whoever_teaches_the_merge_a_trigger_scores_highest() -> None:
    result = watched("good", "bad", "other")
    scores = {name: one.score or 0.0 for name, one in result.evidence.items()}
    assert scores["bad"] > 0.5
    assert max(scores["good"], scores["other"]) < 0.01
    first = result.findings[0]
    assert first.class_name == "red"
    assert first.success is not None
    assert first.base_success is not None
    assert first.success > 0.9 > first.base_success


def test_the_most_telling_finding_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = triggers._Inquiry.screen
    monkeypatch.setattr(triggers._Inquiry, "screen", lambda inquiry: screen(inquiry)[::-1])
    falls = [max(one.falls.values()) for one in watched("good", "bad").findings]
    assert falls[0] > 0.5
    assert falls == sorted(falls, reverse=True)


def test_patches_are_tried_on_images_that_their_steps_do_not_see() -> None:
    where = Watchers()
    first = watched("good", "bad").findings[0]
    place = [task.name for task in where.tasks].index(first.task)
    models = where.merged(None, ["bad"], (), size=2), where.base()
    effort = triggers.PURSUE[Budget.STANDARD]
    found = invert(*models, where.tasks, [Aim(place, first.label)], effort, seed=where.seed, label="again")
    assert first.gain == pytest.approx(float(found.gains[0]), abs=1e-6)


def test_a_deep_audit_tries_the_patches_on_the_fortified_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    for efforts in (triggers.SCREEN, triggers.PURSUE):
        monkeypatch.setitem(efforts, Budget.DEEP, efforts[Budget.STANDARD])
    result = watched("good", "bad", "other", budget=Budget.DEEP)
    found = result.findings[0]
    assert result.not_examined == {}
    assert found.fortified_success == found.base_success  # a Watcher of 0.1, both
    assert found.to_json()["success_fortified"] == found.fortified_success
    assert watched("good", "bad").findings[0].fortified_success is None


@pytest.mark.parametrize("error", [UnsupportedError("several weights"), DataError("too few images")])
def test_a_deep_audit_says_why_it_did_not_try_the_fortified_merge(
    monkeypatch: pytest.MonkeyPatch, error: MergewardError
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Watchers, "fortified", refuse)
    for efforts in (triggers.SCREEN, triggers.PURSUE):
        monkeypatch.setitem(efforts, Budget.DEEP, efforts[Budget.STANDARD])
    result = watched("good", "bad", "other", budget=Budget.DEEP)
    assert result.not_examined == {"inversion on the fortified merge": str(error)}
    assert result.findings[0].fortified_success is None
    assert watched("good", "bad", "other").not_examined == {}


def test_the_report_has_what_a_stage_did_not_examine(attacked: Attacked) -> None:
    learns = attacked.recipe(merge_method="adamerging", parameters={})
    assert "adamerging learns" in mw.audit(learns).not_examined[triggers.OWN_METHOD]


def test_one_that_does_not_compute_fails_and_spoils_no_other() -> None:
    found, without = watched("good", "huge", "bad"), watched("good", "bad")
    assert set(found.failures) == {"huge"}
    assert "not finite" in found.failures["huge"].reason
    assert found.evidence == without.evidence


def test_two_that_do_not_compute_together_fail_and_spoil_no_other() -> None:
    found, without = watched("good", "half", "bad", "other half"), watched("good", "bad")
    assert set(found.failures) == {"half", "other half"}
    assert "beside the others" in found.failures["half"].reason
    assert found.evidence == without.evidence


def test_one_that_no_merge_computes_without_is_not_compared() -> None:
    found = watched("good", "weight", "balance")
    assert set(found.failures) == {"balance"}
    assert "without it" in found.failures["balance"].reason
    assert set(found.evidence) == {"good", "weight"}
    assert all(math.isfinite(one.score or 0.0) for one in found.evidence.values())


def test_no_merge_is_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[frozenset[str]] = []
    sizes: list[int] = []
    merged = Watchers.merged

    def counted(
        self: Watchers, base: object, contributions: Collection[str], scope: object, *, size: int
    ) -> Watcher:
        made.append(frozenset(contributions))
        sizes.append(size)
        return merged(self, base, contributions, scope, size=size)

    monkeypatch.setattr(Watchers, "merged", counted)
    watched("good", "bad", "other")
    assert len(made) == len(set(made)) == 3 + 1 + 3
    assert sizes == [1] * 3 + [3] * 4  # the whole and what is left of it are merged alike


def test_a_stand_in_for_the_recipes_method_is_told() -> None:
    assert watched("good", "bad", "other").not_examined == {}
    assert watched("good", "bad").not_examined == {triggers.OWN_METHOD: "2 are too few"}
    assert watched("good", "huge", "bad").not_examined == {triggers.OWN_METHOD: "2 are too few"}


def test_a_pool_in_which_nobody_does_has_no_high_score() -> None:
    scores = [one.score or 0.0 for one in watched("good", "other").evidence.values()]
    assert max(scores) < 0.01


def test_without_contributions_or_models_there_is_nothing_to_do() -> None:
    assert watched() == StageResult({})
    with pytest.raises(UnsupportedError, match="none to run"):
        triggers.run(Pool(None, {}, ()))


def test_it_decides_nothing_without_a_reference(report: AuditReport) -> None:
    assert "inversion" in report.stages
    found = [one for member in report.contributions for one in member.evidence if one.stage == "inversion"]
    assert {one.verdict for one in found} == {Verdict.INCONCLUSIVE}
    assert {one.p_value for one in found} == {None}
    assert len(found) == 3


def test_what_statistics_find_is_shown_and_decides_nothing(report: AuditReport) -> None:
    for member in report.contributions:
        decides = {one.stage: one.decides for one in member.evidence}
        assert decides == {"hygiene": True, "statistics": False, "inversion": True}


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
