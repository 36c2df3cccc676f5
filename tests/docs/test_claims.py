"""The papers' claims: each has a suite that can test it, and its rule tells what holds from what does not."""

from __future__ import annotations

import claims
import pytest

from invented_run import a_line
from mergeward.bench.grid import expand
from mergeward.bench.suite import load_suite
from mergeward.bench.summary import Line


def a_run(suite: str, success: float) -> list[Line]:
    """Return a line for each merge of a suite, all with one attack success."""
    loaded = load_suite(suite)
    cells = expand(loaded, loaded.task_specs(None))
    return [
        a_line(
            cell.kind,
            dict(cell.axes),
            success if cell.triggers else None,
            attack=cell.attack,
            method=cell.method,
            defense=cell.defense,
        )
        for cell in cells
        if cell.seed == 0 and cell.kind in {"attacked merge", "clean merge"}
    ]


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.text)
def test_its_suite_has_what_it_asks_for(claim: claims.Claim) -> None:
    verdict = claim.judge(a_run(claim.suite, 0.5))
    assert verdict.word in {claims.HOLDS, claims.PARTLY, claims.NOT}
    assert verdict.figures


@pytest.mark.parametrize(
    ("good", "word"),
    [((True, True), claims.HOLDS), ((True, False), claims.PARTLY), ((True, False, False), claims.NOT)],
)
def test_what_holds_for_less_than_half_does_not_hold(good: tuple[bool, ...], word: str) -> None:
    assert claims.of_share(good, "why").word == word


def test_badmerging_must_keep_its_floor_under_every_merge() -> None:
    judge = claims.badmerging_stays("badmerging-on", 0.9)
    lines = [
        a_line("attacked merge", {}, success, attack="badmerging-on", method=method)
        for method, success in (("ties", 0.95), ("dam", 0.91))
    ]
    assert judge(lines).word == "holds"
    assert judge([*lines, a_line("attacked merge", {}, 0.1, attack="badmerging-on")]).word == "partly"
    assert judge([a_line("attacked merge", {}, 0.99, attack="badnets")]).word == "not measured"


def test_dam_is_held_against_merges_of_its_accuracy() -> None:
    lines = [
        a_line("attacked merge", {}, success, method=method)
        for method, success in (("dam", 0.50), ("ties", 0.51), ("average", 0.60))
    ]
    assert claims.dam_is_lower(lines).word == "does not hold"  # one point, two are asked
    assert claims.dam_is_lower([lines[0], lines[2]]).word == "holds"


def test_an_axis_is_read_at_its_ends() -> None:
    lines = [a_line("attacked merge", {"tasks": n}, s) for n, s in ((6, 0.2), (2, 0.9), (4, 0.95))]
    assert claims.moves_over("badnets", "tasks", up=False)(lines).word == "holds"
    assert claims.moves_over("badnets", "tasks", up=True)(lines).word == "does not hold"


def test_what_no_run_tested_is_not_measured() -> None:
    table = claims.claims_table({})
    assert table.count("**not measured**") == len(claims.CLAIMS)
