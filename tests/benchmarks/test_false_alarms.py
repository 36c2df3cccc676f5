"""How often clean pools raise alarms, counted from audits that were made already."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.audited import Row

script = importlib.import_module("false_alarms")


def row(scores: Sequence[float], *, bank: bool, seed: int = 0, attacks: bool = False) -> Row:
    members = [
        {"task": task, "seed": seed, "learning_rate": 0.1, "attacks": attacks and task == "moss"}
        for task in ("moss", "bark")
    ]
    attack = "badnets" if attacks else None
    return Row(f"{seed}", bank, attack, members, None, None, {"inversion": scores}, [1, 2], 1.0, 1.0)


def test_what_a_contribution_scored_is_kept_apart_by_task_and_seed() -> None:
    rows = [row([1.0, 2.0], bank=True), row([3.0, 4.0], bank=False), row([5.0, 6.0], bank=True, seed=1)]
    attacked = row([9.0, 7.0], bank=False, attacks=True)
    found = script.scores_of([*rows, attacked], "inversion")
    assert found == {"bark": [[2.0, 4.0, 7.0], [6.0]], "moss": [[1.0, 3.0], [5.0]]}


@pytest.mark.parametrize("variants", [1, 4])
def test_with_few_variants_a_new_contribution_is_the_highest_one_time_in_as_many_and_one(
    variants: int,
) -> None:
    scores = {"moss": [[float(place)] for place in range(8)]}
    assert script.alarm_rate(scores, variants, draws=1000) == pytest.approx(1 / (variants + 1), abs=0.05)


def test_bank_and_tested_pools_change_places() -> None:
    bank = [row([0.0, 1.0], bank=True) for _ in range(30)]
    tested = [row([0.0, 2.0], bank=False) for _ in range(20)]
    lines = script.exchanged([*bank, *tested], ["inversion"]).splitlines()[2:]
    assert [line.split(" | ")[1:4] for line in lines] == [["30", "20", "20"], ["20", "30", "0"]]


def test_the_script_reads_what_audits_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row([0.1 * seed, 0.2], bank=seed % 2 == 0, seed=seed) for seed in range(4)]
    (tmp_path / "audit.json").write_text(json.dumps({"rows": [asdict(one) for one in rows]}))
    monkeypatch.setattr(sys, "argv", ["false_alarms.py", str(tmp_path / "audit.json")])
    script.main()
    printed = capsys.readouterr().out
    assert "| inversion | 2 | 2 |" in printed
    assert [line[:3] for line in printed.splitlines()[-2:]] == ["| 2", "| 3"]


def test_the_page_shows_what_was_counted(repository: Path) -> None:
    results = repository / "docs" / "results"
    rows = [Row(**one) for one in json.loads((results / "audit.json").read_text("utf-8"))["rows"]]
    page = (results / "audit.md").read_text(encoding="utf-8")
    assert script.exchanged(rows, list(rows[0].scores)) in page
    assert script.resampled(rows, "inversion") in page
