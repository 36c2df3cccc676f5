"""An attack that cannot be made takes its own cells along, and nobody else's controls."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_runs import figures
from mergeward.bench.engine import InProcess, workshop_at
from mergeward.bench.needs import Left, left_of, needed
from mergeward.bench.run import Plan, RunSummary, plan_run, run_plan
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.suite import Suite
from mergeward.bench.summary import summarise
from mergeward.errors import MergewardError
from mergeward.train import FinetuneConfig
from mergeward.workflow import attack

CAUSE = "no luck with blended"
CONTROLS = ("base", "clean merge", "clean retrain")


@pytest.fixture(scope="module")
def both(suite_of: Callable[..., Suite], tiny_clip: Path, colour_data: Path) -> Plan:
    """The plan of a suite of two attacks that share their clean retrain, with two seeds."""
    return plan_run(suite_of(attacks=["badnets", "blended"], seeds=[0, 1]), tiny_clip, colour_data)


def fails_once(name: str, *rest: Any, training: FinetuneConfig, **options: Any) -> Any:
    """Make an attack, but not one of the two with the second seed."""
    if name == "blended" and training.seed == 1:
        raise MergewardError(CAUSE)
    return attack(name, *rest, training=training, **options)


@pytest.fixture(scope="module")
def broken(both: Plan, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """What became of the suite when one attack could not be made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mergeward.bench.workshop.attack", fails_once)
        return run_plan(both, tmp_path_factory.mktemp("broken") / "run.sqlite", engine=InProcess())


def triggers(run: RunFile) -> dict[tuple[str, int], set[str]]:
    """Which triggers controls were measured with."""
    return {
        (row.kind, row.seed): {one.attack for one in run.rates[row.cell] if one.attack}
        for row in run.done
        if row.kind in CONTROLS
    }


def test_what_is_missing_is_named_and_the_rest_is_measured(both: Plan, broken: RunSummary) -> None:
    assert [(row.kind, row.attack, row.seed, row.error) for row in broken.failed] == [
        ("attacker alone", "blended", 1, CAUSE),
        ("attacked merge", "blended", 1, CAUSE),
    ]
    assert [(row.kind, row.seed, row.error) for row in broken.partial] == [
        (kind, 1, f"without the trigger of blended: {CAUSE}") for kind in CONTROLS
    ]
    run = read_run(broken.path)
    assert broken.measured == len(both.cells) - 2 == len(run.done)
    assert triggers(run) == {
        (kind, seed): {"badnets"} if seed else {"badnets", "blended"} for kind in CONTROLS for seed in (0, 1)
    }


def test_a_healthy_attack_keeps_its_controls_in_every_seed(broken: RunSummary) -> None:
    lines = summarise(read_run(broken.path))
    seeds = {
        line.attack: [
            found.seeds for found in (line.success, line.clean_success, line.retrain_success) if found
        ]
        for line in lines
        if line.kind == "attacked merge"
    }
    assert seeds == {"badnets": [2, 2, 2], "blended": [1, 1, 1]}
    shown = [(line.trigger, line.accuracy.seeds) for line in lines if line.kind == "clean merge"]
    assert shown == [("badnets", 2), ("blended", 1)]


def test_what_was_missing_is_measured_once_it_can_be_made(
    both: Plan, broken: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.sqlite"
    shutil.copy(broken.path, path)
    with monkeypatch.context() as patch:
        patch.setattr("mergeward.bench.workshop.attack", fails_once)
        again = run_plan(both, path, resume=True, engine=InProcess())
    assert (again.measured, len(again.failed), len(again.partial)) == (3, 2, 3)
    done = run_plan(both, path, resume=True, engine=InProcess())
    assert (done.measured, done.failed, done.partial, done.outdated) == (5, (), (), None)
    whole = read_run(path)
    assert {row.error for row in whole.cells} == {None}
    never_broken = run_plan(both, tmp_path / "never-broken.sqlite", engine=InProcess())
    assert figures(whole) == figures(read_run(never_broken.path))
    assert run_plan(both, path, resume=True, engine=InProcess()).kept == len(both.cells)


def test_a_clean_retrain_without_any_trigger_is_no_control(
    suite_of: Callable[..., Suite], tiny_clip: Path, colour_data: Path
) -> None:
    plan = plan_run(suite_of(), tiny_clip, colour_data)
    workshop = workshop_at(plan.site)
    alone = [cell for cell in plan.cells.values() if cell.kind == "attacker alone"]
    failed = dict.fromkeys(needed(workshop, alone), CAUSE)
    left = {cell.kind: left_of(workshop, cell, failed) for cell in plan.cells.values()}
    for kind in ("attacker alone", "clean retrain", "attacked merge"):
        assert left[kind] == Left(None, CAUSE)
    for kind in ("base", "clean merge"):
        cell = left[kind].cell
        assert cell is not None
        assert cell.triggers == ()
        assert left[kind].cause == f"without the trigger of badnets: {CAUSE}"
    assert left["fine-tuned"].cause is None


def test_an_attack_of_two_is_not_half_shown(
    suite_of: Callable[..., Suite], tiny_clip: Path, colour_data: Path
) -> None:
    pair = {"name": "pair", "adversaries": [{"attack": "badnets", "task": 0}, {"attack": "badnets"}]}
    plan = plan_run(suite_of(attacks=[pair, "blended"]), tiny_clip, colour_data)
    workshop = workshop_at(plan.site)
    (base,) = (cell for cell in plan.cells.values() if cell.kind == "base")
    first = next(cell for cell in plan.cells.values() if cell.kind == "attacker alone")
    left = left_of(workshop, base, dict.fromkeys(needed(workshop, [first]), CAUSE)).cell
    assert left is not None
    assert [name for name, _ in left.triggers] == ["blended"]
