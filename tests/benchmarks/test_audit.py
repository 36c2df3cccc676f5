"""The benchmark of audits: which contributions it finds, the pools it makes of them, and how it counts."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mergeward as mw
from colour_task import save_colour_task
from harness import audited, contributions, pools
from harness.audited import Bank, Row
from harness.contributions import Made
from mergeward.provenance import Provenance

script = importlib.import_module("audit")

BASE = "ab" * 32
TASKS = ("bark", "ferns", "moss", "stone", "sand")


def written(
    folder: Path,
    method: str,
    *,
    base: str = BASE,
    seed: int = 0,
    target: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    record = Provenance(
        kind="contribution",
        method=method,
        parameters={"learning_rate": 0.1, **(parameters or {})},
        seed=seed,
        inputs={"base": base},
        task="moss",
        backdoor=target is not None,
        trigger=None if target is None else {"target_task": target},
    )
    folder.mkdir(parents=True)
    save_file({"w": torch.zeros(2)}, folder / "model.safetensors", metadata=record.to_metadata())
    return folder


def clean(task: str, seed: int) -> Made:
    return Made(Path(f"/{task}-{seed}"), task, "finetune", seed, 0.1)


def attacker(task: str, seed: int, target: str, partner: Path | None = None) -> Made:
    return Made(Path("/bad"), task, "badnets", seed, 0.1, target, partner=partner)


def row(scores: Sequence[float], attackers: Sequence[int], *, pool: str = "one", bank: bool = False) -> Row:
    members = [{"task": "moss", "attacks": place in attackers} for place in range(len(scores))]
    ranks = [1 + sum(other > score for other in scores) for score in scores]
    attack, success = ("badnets", 0.9) if attackers else (None, None)
    return Row(pool, bank, attack, members, success, 0.1, {"inversion": scores}, ranks, 2.0, 3.0)


def test_contributions_to_the_base_are_found_once(tmp_path: Path) -> None:
    newest = written(tmp_path / "a" / "model", "finetune")
    older = written(tmp_path / "b" / "model", "finetune")
    os.utime(older / "model.safetensors", (1, 1))
    written(tmp_path / "c" / "model", "finetune", base="cd" * 32)
    bad = written(tmp_path / "d" / "model", "mergebackdoor", seed=2, target="moss")
    partner = written(tmp_path / "d" / "model-partner", "mergebackdoor", seed=2, target="moss")
    off = written(tmp_path / "e" / "model", "badnets", target="stone")
    written(tmp_path / "g" / "model", "badnets", target="moss", parameters={"patch_size": 2})  # of a sweep
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "model.safetensors").write_bytes(b"damaged")
    found = contributions.find([tmp_path], BASE)
    assert [(one.path, one.label, one.seed, one.partner) for one in found] == [
        (off, "badnets off-task", 0, None),
        (newest, "finetune", 0, None),
        (bad, "mergebackdoor", 2, partner),
    ]
    assert contributions.tasks(found) == ["moss"]
    assert [one.attacks for one in found] == [True, False, True]


def test_a_pool_holds_the_attacker_and_clean_ones_of_the_same_seeds() -> None:
    made = [clean(task, seed) for task in TASKS for seed in (0, 1, 2)]
    made += [attacker("moss", 1, "stone"), attacker("moss", 0, "moss")]
    found = list(pools.attacked(made, [1, 2], rounds=20))
    assert len(found) == 20
    for pool in found:
        paths = [one.path for one in pool.members]
        assert paths.count(Path("/bad")) == 1
        assert len(paths) == len(set(paths))
        assert {one.made.seed for one in pool.members} <= {1, 2}
        assert "stone" in {one.task for one in pool.members}
    assert {len(pool.members) for pool in found} == set(pools.SIZES)
    assert found == list(pools.attacked(made, [1, 2], rounds=20))


def test_every_task_has_a_contribution_before_one_has_two() -> None:
    made = [clean(task, seed) for task in TASKS for seed in (1, 2)]
    for pool in pools.clean(made, [1, 2], 20):
        claims = [one.task for one in pool.members]
        assert len(set(claims)) == min(len(claims), len(TASKS))
        assert not any(one.attacks for one in pool.members)


def test_the_partner_of_an_attacker_comes_under_the_name_of_another_task() -> None:
    made = [clean(task, 1) for task in TASKS] + [attacker("moss", 1, "moss", partner=Path("/partner"))]
    (pool,) = pools.attacked(made, [1], rounds=1)
    claims = {one.path: one.task for one in pool.members}
    assert claims[Path("/bad")] == "moss"
    assert claims[Path("/partner")] != "moss"
    assert sum(one.attacks for one in pool.members) == 2


def test_first_is_who_stands_out_alone() -> None:
    assert row([0.1, 0.9, 0.2], [1]).first()
    assert row([0.1, 0.9, 0.2], [1]).first("inversion")
    assert not row([0.1, 0.9, 0.9], [1]).first()
    assert not row([0.1, 0.9, 0.9], [1]).first("inversion")
    assert not row([0.1, 0.9, 0.2], [0]).first()


def test_suspects_stand_out_as_few_clean_pools_do() -> None:
    bank = Bank([row([0.0, value / 100], [], bank=True) for value in range(19)])
    one = row([0.1, 0.5], [1])
    assert bank.p_value("inversion", 0.5) == pytest.approx(0.05)
    assert bank.suspects(one, "inversion") == [1]


def test_the_dearest_stage_decides() -> None:
    def both(one: Row) -> Row:
        return replace(one, scores={"inversion": one.scores["inversion"], "statistics": [9.0, 0.0]})

    bank = [both(row([0.0, value / 100], [], bank=True)) for value in range(19)]
    by_attack = audited.markdown([*bank, both(row([0.1, 0.5], [1]))]).split("\n\n")[0]
    assert "| badnets | 1 | 90 | 10 | 1 | 1 | 1 of 1 | 1 | 0 | 3 |" in by_attack


def test_the_tables_count_hits_misses_and_alarms() -> None:
    bank = [row([0.0, value / 100], [], bank=True) for value in range(19)]
    tested = [row([0.1, 0.5], [1]), row([0.1, 0.05], [1], pool="missed"), row([0.1, 0.9], [], pool="alarm")]
    by_attack, by_stage, misses = audited.markdown([*bank, *tested]).split("\n\n")
    assert "| badnets | 2 | 90 | 10 | 2 | 1 | 1 of 2 | 1 | 0 | 3 |" in by_attack
    assert "| none | 1 | – |  |  |  |  |  | 1 | 3 |" in by_attack
    assert "| inversion | 1 of 2 | 1 of 2 | 1 of 2 | 1 of 1 | 1 of 3 |" in by_stage
    assert "| missed | 2 | 90 | 0.050, 0.100, 0.750 |" in misses
    assert misses.count("\n") == 3


def test_the_page_has_what_the_file_says() -> None:
    results = Path(__file__).resolve().parent.parent.parent / "docs" / "results"
    rows = [Row(**one) for one in json.loads((results / "audit.json").read_text(encoding="utf-8"))["rows"]]
    page = (results / "audit.md").read_text(encoding="utf-8")
    for part in audited.markdown(rows).split("\n\n"):
        assert part.strip() in page


def test_the_script_audits_each_pool_once(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", "1")
    training = mw.FinetuneConfig(steps=2, batch_size=4, learning_rate=1e-3, warmup_steps=1)
    data, made, figures = tmp_path / "data", tmp_path / "made", tmp_path / "audit.json"
    for task in ("warm", "cold", "mild"):
        save_colour_task(data, task)
        mw.finetune(tiny_clip, task, made / task, data=data, training=training)
    mw.attack("badnets", tiny_clip, "cold", 0, made / "bad", data=data, training=training)
    places = ["--base", str(tiny_clip), "--data", str(data), "--contributions", str(made)]
    options = ["--seeds", "0", "--rounds", "1", "--clean-pools", "1", "--bank-pools", "1", "--quick"]
    monkeypatch.setattr(sys, "argv", ["audit.py", *places, *options, "--json", str(figures)])
    script.main()
    content = json.loads(figures.read_text())
    assert [(one["attack"], one["bank"]) for one in content["rows"]] == [
        (None, True),
        ("badnets", False),
        (None, False),
    ]
    attacked = Row(**content["rows"][1])
    assert len(attacked.attackers) == 1
    assert attacked.success is not None
    assert list(attacked.scores) == ["statistics"]
    before = figures.read_text()
    script.main()
    assert figures.read_text() == before
    assert "| badnets | 1 |" in capsys.readouterr().out
