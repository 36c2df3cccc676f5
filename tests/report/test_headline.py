from __future__ import annotations

from dataclasses import replace

from mergeward.bench.results import Results
from mergeward.report.headline import findings


def sentences(results: Results) -> list[str]:
    return [
        f"{finding.subject} {finding.statement}".replace("\N{NO-BREAK SPACE}", " ")
        for finding in findings(results)
    ]


def test_what_each_merge_does_with_each_attack(results: Results) -> None:
    assert sentences(results) == [
        "BadNets (99 % before merging) keeps 33 % under AdaMerging, 23 % under TIES and 4 % under task"
        " arithmetic, and is not clearly above the clean merge under average (2 % against 2 %) and DAM"
        " (2 % against 2 %). On clean merges the same trigger has 2 %.",
        "BadMerging on-task (99.7 % before merging) keeps 97 % under AdaMerging, 93 % under task arithmetic,"
        " 88 % under average and 84 % under TIES, and is not clearly above the clean merge under DAM"
        " (10 % against 8 %). On clean merges the same trigger has 8 % to 12 %.",
        "Mean accuracy lies between 73 % (average) and 91 % (AdaMerging); the base alone has 58 %.",
        "An attacked merge differs in mean accuracy from the clean merge by the same method"
        " by at most 0.7 points.",
    ]


def test_an_attack_that_every_merge_keeps(results: Results) -> None:
    kept = tuple(
        row for row in results.rows if row.attack == "badmerging-on" and row.method in {"ties", "average"}
    )
    assert sentences(replace(results, rows=kept))[0] == (
        "BadMerging on-task (99.7 % before merging) keeps 88 % under average and 84 % under TIES."
        " On clean merges the same trigger has 9 % to 11 %."
    )


def test_an_attack_that_no_merge_keeps(results: Results) -> None:
    lost = tuple(row for row in results.rows if row.attack == "badnets" and row.method == "dam")
    assert sentences(replace(results, rows=lost))[0] == (
        "BadNets (99 % before merging) is not clearly above the clean merge under DAM (2 % against 2 %)."
        " On clean merges the same trigger has 2 %."
    )


def test_without_attacks_only_accuracy_is_left(results: Results) -> None:
    clean = tuple(row for row in results.rows if row.attack == "none")
    assert [finding.subject for finding in findings(replace(results, rows=clean))] == ["Mean accuracy"]
