"""The papers' claims: each has a suite that can test it, and its rule tells what holds from what does not."""

from __future__ import annotations

from dataclasses import replace

import claim_rules
import claims
import pytest

from invented_run import a_line
from mergeward.bench.estimate import Estimate
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
    assert verdict.word in {claim_rules.HOLDS, claim_rules.PARTLY, claim_rules.NOT}
    assert verdict.figures


@pytest.mark.parametrize(
    ("good", "word"),
    [
        ((True, True), claim_rules.HOLDS),
        ((True, False), claim_rules.PARTLY),
        ((True, False, False), claim_rules.NOT),
    ],
)
def test_what_holds_for_less_than_half_does_not_hold(good: tuple[bool, ...], word: str) -> None:
    assert claim_rules.of_share(good, "why").word == word


def test_badmerging_must_keep_its_floor_under_every_merge() -> None:
    judge = claim_rules.badmerging_stays("badmerging-on", 0.9)
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
    assert claim_rules.dam_is_lower(lines).word == "does not hold"  # one point, two are asked
    assert claim_rules.dam_is_lower([lines[0], lines[2]]).word == "holds"


def test_undefended_merges_are_held_over_all_tasks_where_those_were_measured() -> None:
    lines = [a_line("attacked merge", {}, rate, method=name) for name, rate in (("ties", 0.8), ("dam", 0.1))]
    alone = claim_rules.undefended_is_open(lines)
    assert alone.word == "holds"
    assert alone.figures == "1 of 1: 80.0 to 80.0 %; over all tasks not measured"
    low = Estimate(0.05, 0.0, 0.1, 3)
    spread = [replace(line, tasks=tuple("abcdef"), transfer=low) for line in lines]
    verdict = claim_rules.undefended_is_open(spread)  # (2 * 0.8 + 4 * 0.05) / 6
    assert (verdict.word, verdict.figures.rpartition("; ")[2]) == (
        "does not hold",
        "over all tasks 30.0 to 30.0 %",
    )


def test_few_images_and_absent_contributors_are_held_against_most_and_all() -> None:
    def knowing(images: int, rate: float) -> Line:
        axes: dict[str, object] = {"attack.references": images, "attack.shadow_classes": 30}
        return a_line("attacked merge", axes, rate, attack="badmerging-off")

    assert claim_rules.five_images_do([knowing(5, 0.46), knowing(20, 0.5)]).word == "holds"
    assert claim_rules.five_images_do([knowing(5, 0.44), knowing(20, 0.5)]).word == "does not hold"

    def among(absent: str, rate: float) -> Line:
        return a_line("attacked merge", {"absent": absent}, rate, attack="badmerging-on")

    assert claim_rules.absence_does_not_help([among("none", 0.9), among("2", 0.95)]).word == "holds"
    assert claim_rules.absence_does_not_help([among("none", 0.9), among("2", 0.8)]).word == "does not hold"


def test_an_axis_is_read_at_its_ends() -> None:
    lines = [a_line("attacked merge", {"tasks": n}, s) for n, s in ((6, 0.2), (2, 0.9), (4, 0.95))]
    assert claim_rules.moves_over("badnets", "tasks", up=False)(lines).word == "holds"
    assert claim_rules.moves_over("badnets", "tasks", up=True)(lines).word == "does not hold"


def test_what_no_run_tested_is_not_measured() -> None:
    table = claims.claims_table({})
    assert table.count("**not measured**") == len(claims.CLAIMS)
