"""Runs that go on: what an earlier one measured is kept, and what changed since is measured again."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bench_runs import figures, full_disk
from mergeward.bench import store
from mergeward.bench.engine import workshop_at
from mergeward.bench.outdated import Outdated
from mergeward.bench.run import Plan, RunSummary, Step, run_plan
from mergeward.bench.store import RunFile, open_run, read_run
from mergeward.errors import OutputError

Planned = Callable[[], Plan]


def test_a_run_killed_as_its_file_is_made_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(store, "_insert_about", interrupted)
        with pytest.raises(KeyboardInterrupt), open_run(path, {}, planned=1, resume=False):
            pass
    assert path.exists()
    with open_run(path, {}, planned=1, resume=True) as writer:
        assert writer.finished() == frozenset()
    assert read_run(path).planned == 1


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_stopped_at_any_cell_goes_on(
    ran: RunSummary, run_file: RunFile, planned: Planned, tmp_path: Path
) -> None:
    def stop(step: Step) -> None:
        if step.number == 3:
            raise KeyboardInterrupt

    plan = planned()
    path = tmp_path / "run.sqlite"
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, path, report=stop)
    assert len(read_run(path).cells) == 3
    assert read_run(path).planned == 7
    done = run_plan(plan, path, resume=True)
    assert (done.measured, done.kept) == (4, 3)
    assert figures(read_run(path)) == figures(run_file)


def test_what_was_measured_with_another_version_is_measured_again_and_lost_nowhere(
    ran: RunSummary, run_file: RunFile, planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Outdated] = []

    def listen(outdated: Outdated) -> None:
        told.append(outdated)
        assert len(read_run(path).cells) == 7, "told before anything has left the file"

    path = tmp_path / "run.sqlite"
    run_plan(planned(), path)
    monkeypatch.setattr("mergeward.bench.workshop.versions", lambda: "another")
    monkeypatch.setattr("mergeward.bench.outdated.versions", lambda: "another")
    workshop_at.cache_clear()  # it has worked out its keys
    done = run_plan(planned(), path, resume=True, on_outdated=listen)
    workshop_at.cache_clear()
    assert (done.measured, done.kept) == (7, 0)
    assert told == [done.outdated]
    assert told[0].cells == 7
    assert told[0].reasons[0].startswith("versions (mergeward ")
    assert len(read_run(path).cells) == len(read_run(path).rates) == 7
    assert figures(read_run(told[0].kept)) == figures(run_file)
    assert {file.name for file in tmp_path.iterdir()} == {"run.sqlite", told[0].kept.name}
    assert re.fullmatch(r"run\.before-[0-9a-f]{8}\.sqlite", told[0].kept.name)


def test_cells_are_not_forgotten_where_the_file_cannot_be_kept(
    ran: RunSummary, run_file: RunFile, planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.sqlite"
    shutil.copy(ran.path, path)
    monkeypatch.setattr("mergeward.bench.workshop.versions", lambda: "another")
    monkeypatch.setattr("mergeward.bench.store.replaced", full_disk)
    workshop_at.cache_clear()
    with pytest.raises(OutputError, match="No space left on device"):
        run_plan(planned(), path, resume=True)
    workshop_at.cache_clear()
    assert figures(read_run(path)) == figures(run_file)


def test_a_file_from_before_a_column_came_is_read_and_gone_on_with(
    ran: RunSummary, run_file: RunFile, planned: Planned, tmp_path: Path
) -> None:
    path = tmp_path / "run.sqlite"
    shutil.copy(ran.path, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM cells WHERE kind = 'attacked merge'")
        connection.execute("ALTER TABLE cells DROP COLUMN collapsed")
    assert {row.collapsed for row in read_run(path).cells} == {None}
    assert len(read_run(path).cells) == 6
    done = run_plan(planned(), path, resume=True)
    assert (done.measured, done.kept, done.outdated) == (1, 6, None)
    assert figures(read_run(path)) == figures(run_file)
    assert [row.collapsed for row in read_run(path).cells if row.kind == "attacked merge"] == [()]


def test_a_file_that_is_no_run_is_not_gone_on_with(planned: Planned, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database, but a longer text than an empty file\n" * 9)
    with pytest.raises(OutputError, match="cannot write the run"):
        run_plan(planned(), path, resume=True)
    assert path.read_text().startswith("no database")
