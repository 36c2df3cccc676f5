"""Running a suite: what is written, what is kept, what a failure costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from bench_runs import figures, full_disk
from mergeward.bench.clean import clean
from mergeward.bench.engine import InProcess, Processes, local_engine, workshop_at
from mergeward.bench.run import RunSummary, Step, plan_run, run_plan
from mergeward.bench.store import RunFile, RunWriter, read_run
from mergeward.bench.suite import Suite
from mergeward.errors import DataError, MergewardError, OutputError, UsageError

Make = Callable[..., Suite]


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("made again instead of taken from the store")


def test_every_cell_is_written_with_what_it_was_measured_with(ran: RunSummary, run_file: RunFile) -> None:
    assert (ran.measured, ran.kept, ran.failed) == (7, 0, ())
    assert [row.position for row in run_file.cells] == list(range(7))
    for row in run_file.cells:
        assert row.status == "done"
        assert row.accuracy is not None
        assert "torch" in row.versions
        assert "threads" in row.hardware
        assert row.finished
        assert (row.success is not None) == (row.kind in {"attacker alone", "attacked merge"})
        assert (row.merge_seconds is not None) == row.kind.endswith(("merge", "retrain"))
        assert row.collapsed == (() if row.kind.endswith(("merge", "retrain")) else None)
    assert run_file.about["suite"]["name"] == "smallest"


def test_rates_are_of_the_images_that_count(run_file: RunFile) -> None:
    (attacked,) = (row for row in run_file.cells if row.kind == "attacked merge")
    rates = {(one.measure, one.task): one for one in run_file.rates[attacked.cell]}
    assert set(rates) == {
        ("accuracy", "warm"),
        ("accuracy", "cold"),
        ("success", "cold"),
        ("untriggered", "cold"),
        ("transfer", "warm"),
        ("changed", "warm"),
        ("changed", "cold"),
    }
    assert rates["accuracy", "warm"].rate.trials == 8
    assert rates["success", "cold"].rate.trials == 4  # the others are of the target class
    assert rates["success", "cold"].target_class == "red square"
    assert rates["untriggered", "cold"].rate.trials == 4
    assert rates["untriggered", "cold"].attack == rates["success", "cold"].attack
    assert rates["transfer", "warm"].target_task == "cold"


def test_a_second_run_makes_nothing_and_finds_the_same(
    ran: RunSummary,
    run_file: RunFile,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for step in ("_make", "_predict"):
        monkeypatch.setattr(f"mergeward.bench.workshop.Workshop.{step}", refuse)
    plan = plan_run(smallest, tiny_clip, colour_data)
    assert (plan.cached, plan.missing) == (7, 0)
    done = run_plan(plan, tmp_path / "again.sqlite")
    assert figures(read_run(done.path)) == figures(run_file)


def test_merged_models_can_be_cleaned_away_without_a_figure_being_lost(
    ran: RunSummary,
    run_file: RunFile,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = clean(dry_run=True)
    assert told["merge"] > 0
    assert clean() == told
    assert clean()["merge"] == 0
    monkeypatch.setattr("mergeward.bench.workshop.Workshop._make", refuse)
    done = run_plan(plan_run(smallest, tiny_clip, colour_data), tmp_path / "again.sqlite")
    assert figures(read_run(done.path)) == figures(run_file)


def test_what_one_machine_has_another_takes_from_the_store(
    ran: RunSummary,
    run_file: RunFile,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data, str(tmp_path / "shared"))
    run_plan(plan, tmp_path / "one.sqlite")
    monkeypatch.setenv("MERGEWARD_CACHE", str(tmp_path / "another-machine"))
    for step in ("_make", "_predict"):
        monkeypatch.setattr(f"mergeward.bench.workshop.Workshop.{step}", refuse)
    done = run_plan(plan, tmp_path / "another.sqlite")
    assert figures(read_run(done.path)) == figures(run_file)
    assert [row.merge_seconds for row in read_run(done.path).cells] == [
        row.merge_seconds for row in run_file.cells
    ]


def test_what_is_being_made_is_not_cleaned_away_and_what_was_left_is(empty_cache: Path) -> None:
    begun = empty_cache / "merge" / ".key-abcd"
    begun.mkdir(parents=True)
    (begun / "weights").write_text("half")
    with FileLock(empty_cache / "merge" / "key.lock"):
        assert clean() == {"merge": 0, "hardened": 0}
    assert begun.is_dir()
    assert clean() == {"merge": 4, "hardened": 0}
    assert not begun.exists()


def test_a_failed_cell_stops_no_other_and_is_tried_again(
    ran: RunSummary,
    suite_of: Make,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = suite_of(methods=["task_arithmetic", "average"])
    plan, path = plan_run(suite, tiny_clip, colour_data), tmp_path / "run.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr("mergeward.bench.workshop.merge", _fail)
        done = run_plan(plan, path)
    assert [(row.kind, row.method, row.error) for row in done.failed] == [
        ("clean merge", "average", "no luck"),
        ("clean retrain", "average", "no luck"),
        ("attacked merge", "average", "no luck"),
    ]
    assert done.measured == 7
    again = run_plan(plan, path, resume=True)
    assert (again.measured, again.kept, again.failed) == (3, 7, ())
    assert {row.status for row in read_run(path).cells} == {"done"}


def _fail(*_: object, **__: object) -> None:
    raise MergewardError("no luck")


def test_what_needs_a_contribution_that_failed_fails_with_its_cause(
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mergeward.bench.workshop.finetune", _fail)
    steps: list[Step] = []
    plan = plan_run(smallest, tiny_clip, colour_data)
    done = run_plan(plan, tmp_path / "run.sqlite", engine=InProcess(), report=steps.append)
    assert {row.kind for row in done.failed} == {
        "fine-tuned",
        "clean merge",
        "clean retrain",
        "attacked merge",
    }
    assert {row.error for row in done.failed} == {"no luck"}
    assert done.measured == 2
    assert [step.number for step in steps] == list(range(1, 8))


def test_a_store_that_cannot_be_written_stops_the_run_which_goes_on_when_it_can(
    ran: RunSummary,
    suite_of: Make,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_run(suite_of(methods=["task_arithmetic", "median"]), tiny_clip, colour_data)
    path = tmp_path / "run.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr("mergeward.bench.workshop.merge", full_disk)
        with pytest.raises(OutputError, match="No space left on device"):
            run_plan(plan, path)
    rows = read_run(path).cells
    assert {row.status for row in rows} == {"done"}
    done = run_plan(plan, path, resume=True)
    assert (done.kept, done.measured, done.failed) == (len(rows), len(plan.cells) - len(rows), ())


def test_a_run_file_on_a_full_disk_keeps_what_it_has(
    ran: RunSummary,
    run_file: RunFile,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert = RunWriter._insert

    def full(writer: RunWriter, table: str, values: list[object]) -> None:
        if table == "rates" and len(writer.finished()) == 3:  # the third cell is half written
            raise sqlite3.OperationalError("database or disk is full")
        insert(writer, table, values)

    plan, path = plan_run(smallest, tiny_clip, colour_data), tmp_path / "run.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "_insert", full)
        with pytest.raises(OutputError, match=r"cannot write the run: .* full"):
            run_plan(plan, path)
    assert len(read_run(path).cells) == 2
    run_plan(plan, path, resume=True)
    assert figures(read_run(path)) == figures(run_file)


def test_damaged_predictions_are_told_and_made_again(
    run_file: RunFile,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data)
    run_plan(plan, tmp_path / "first.sqlite")
    damaged = [*empty_cache.glob("predictions/*/predictions.json"), *empty_cache.glob("cost/*/cost.json")]
    for file in damaged:
        file.write_text("{")
    monkeypatch.setattr("mergeward.cache._intact", set())
    done = run_plan(plan, tmp_path / "second.sqlite")
    assert caplog.text.count("is damaged; it is made again") >= 8
    assert (done.measured, done.failed) == (7, ())
    assert figures(read_run(done.path)) == figures(run_file)


def test_runs_are_not_written_over_mixed_or_written_twice_at_once(
    ran: RunSummary, smallest: Suite, suite_of: Make, tiny_clip: Path, colour_data: Path
) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data)
    with pytest.raises(OutputError, match="--resume goes on"):
        run_plan(plan, ran.path)
    for changes, words in (
        ({"title": "another"}, 'another suite: title "A suite" there, "another" here; --out'),
        ({"seeds": [0, 1]}, r"another suite: seeds \[0\] there, \[0, 1\] here; --out"),
        ({"attacks": ["blended"]}, "another suite: other attacks; --out"),
    ):
        with pytest.raises(UsageError, match=words):
            run_plan(plan_run(suite_of(**changes), tiny_clip, colour_data), ran.path, resume=True)
    with FileLock(f"{ran.path}.lock"), pytest.raises(OutputError, match="another process"):
        run_plan(plan, ran.path, resume=True)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_run(tmp_path / "no.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database")
    with pytest.raises(DataError, match="not a run"):
        read_run(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE run (key, value)")
    with pytest.raises(DataError, match="another form"):
        read_run(tmp_path / "other.sqlite")


def test_as_many_processes_as_have_cores_for_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", "2")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)), raising=False)
    assert local_engine() == Processes(4)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    assert isinstance(local_engine(), InProcess)
    with pytest.raises(UsageError, match="--workers 0"):
        local_engine(0)


@pytest.mark.slow
def test_several_processes_find_the_same(
    ran: RunSummary, run_file: RunFile, smallest: Suite, tiny_clip: Path, colour_data: Path, tmp_path: Path
) -> None:
    plan = plan_run(smallest, tiny_clip, colour_data)
    done = run_plan(plan, tmp_path / "run.sqlite", engine=Processes(2))
    assert figures(read_run(done.path)) == figures(run_file)


@pytest.mark.slow
def test_a_killed_process_costs_nothing(
    run_file: RunFile, smallest: Suite, tiny_clip: Path, colour_data: Path, tmp_path: Path, empty_cache: Path
) -> None:
    def kill(step: Step) -> None:
        if step.number == 1:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    plan = plan_run(smallest, tiny_clip, colour_data)
    assert plan.cached == 0
    done = run_plan(plan, tmp_path / "run.sqlite", engine=Processes(2), report=kill)
    assert (done.measured, done.failed) == (7, ())
    assert figures(read_run(done.path)) == figures(run_file)


STARTS_A_WORKER = """
import os, time
from mergeward.bench.engine import _pool

if __name__ == "__main__":
    with _pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def has_ended(process: int) -> bool:
    """Whether a process is gone, or nothing is left of it but its number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_goes_on_when_the_run_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(STARTS_A_WORKER)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.send_signal(how)
    assert any(has_ended(worker) or time.sleep(0.1) for _ in range(600))


@pytest.mark.slow
def test_two_runs_at_once_share_one_cache(
    run_file: RunFile, smallest: Suite, tiny_clip: Path, colour_data: Path, tmp_path: Path, empty_cache: Path
) -> None:
    plan, paths = plan_run(smallest, tiny_clip, colour_data), [tmp_path / "1.sqlite", tmp_path / "2.sqlite"]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(run_plan, plan, path, engine=InProcess()) for path in paths]:
            assert (done.result().measured, done.result().failed) == (7, ())
    assert [figures(read_run(path)) for path in paths] == [figures(run_file)] * 2
    made = {kind.name: len([one for one in kind.iterdir() if one.is_dir()]) for kind in empty_cache.iterdir()}
    assert (made["contribution"], made["merge"]) == (4, 3)  # none twice, nothing half-made


def test_another_number_of_threads_is_another_cell(
    smallest: Suite, tiny_clip: Path, colour_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEWARD_THREADS", "2")
    here = set(plan_run(smallest, tiny_clip, colour_data).cells)
    monkeypatch.setenv("MERGEWARD_THREADS", "1")
    workshop_at.cache_clear()
    assert here.isdisjoint(plan_run(smallest, tiny_clip, colour_data).cells)
    workshop_at.cache_clear()
