"""Planning a run: what it is of, and what is refused before anything is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mergeward.bench.run import RunSummary, narrowed, plan_run, run_plan
from mergeward.bench.suite import Suite
from mergeward.errors import UsageError

Make = Callable[..., Suite]


def test_tasks_of_one_name_are_refused(
    suite_of: Make, tiny_clip: Path, colour_data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(colour_data / "warm.npz", other / "warm.npz")
    with pytest.raises(UsageError, match="two of the name 'warm'"):
        plan_run(suite_of(tasks=["warm", str(other / "warm.npz")]), tiny_clip, colour_data)


def test_members_are_kept_by_name_and_their_controls_stay(suite_of: Make) -> None:
    suite = suite_of(attacks=["badnets", "badmerging-on"], methods=["average", "ties"])
    kept = narrowed(suite, {"attack": ["badnets"], "method": ["ties"]}, seeds=[4])
    assert [entry.name for entry in (*kept.attacks, *kept.methods)] == ["badnets", "ties"]
    assert kept.seeds == (4,)
    with pytest.raises(UsageError, match="did you mean 'ties'"):
        narrowed(suite, {"method": ["tie"]})
    with pytest.raises(UsageError, match="did you mean 'method'"):
        narrowed(suite, {"metod": ["ties"]})
    with pytest.raises(UsageError, match="seeds 0, 0: expected every seed once"):
        narrowed(suite, {}, seeds=[0, 0])


def test_a_task_without_data_and_a_class_that_there_is_not(
    suite_of: Make, tiny_clip: Path, colour_data: Path
) -> None:
    with pytest.raises(UsageError, match="did you mean 'cold'"):
        plan_run(suite_of(tasks=["warm", "colt"]), tiny_clip, colour_data)
    suite = suite_of(attacks=[{"attack": "badnets", "target_class": "red squares"}])
    with pytest.raises(UsageError, match="did you mean 'red square'"):
        plan_run(suite, tiny_clip, colour_data)
    suite = suite_of(attacks=[{"attack": "badnets", "target_class": 99}])
    with pytest.raises(UsageError, match=r"^suite smallest: target_class: .*'99'.*\(or a number, 0 to 1\)$"):
        plan_run(suite, tiny_clip, colour_data)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ({"attack": "badnets", "parameters": {"patch_size": 500}}, "badnets: a patch of 500 pixels does not"),
        ({"attack": "badmerging-on", "parameters": {"patch_size": 500}}, "badmerging-on: a patch of 500"),
        ({"attack": "badvit", "parameters": {"patches": 500}}, "badvit: a trigger of 500 patches does not"),
    ],
)
def test_a_trigger_larger_than_the_images_is_refused_by_the_plan(
    suite_of: Make, tiny_clip: Path, colour_data: Path, attack: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=f"^suite smallest: attack {words}"):
        plan_run(suite_of(attacks=[attack]), tiny_clip, colour_data)


def test_a_plan_is_of_what_was_chosen(smallest: Suite, tiny_clip: Path, colour_data: Path) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data)
    assert len(plan.cells) == 7
    assert len(plan.contributions) == 4  # two clean, the attacker's, its clean retrain
    assert replace(plan, cached=0).cells == plan.cells


def test_a_plan_without_its_base_counts_everything_and_cannot_be_run(
    ran: RunSummary, smallest: Suite, tiny_clip: Path, colour_data: Path, tmp_path: Path
) -> None:
    plan = plan_run(smallest, None, colour_data)
    there = plan_run(smallest, tiny_clip, colour_data)
    assert (len(plan.cells), len(plan.contributions)) == (len(there.cells), len(there.contributions))
    assert (plan.cached, plan.missing) == (0, 4)
    with pytest.raises(UsageError, match="planned without its base"):
        run_plan(plan, tmp_path / "run.sqlite")
    assert not (tmp_path / "run.sqlite").exists()
