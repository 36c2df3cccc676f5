"""Why cells are measured again, as far as their rows tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from invented_run import a_run
from mergeward.bench.code import versions
from mergeward.bench.outdated import Outdated, reasons
from mergeward.bench.rows import CellRow


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> CellRow:
    """One that was measured here and now, by a plug-in among others."""
    monkeypatch.setenv("MERGEWARD_THREADS", "2")
    return replace(a_run().cells[0], versions=f"{versions()}, plugin 1", hardware="A 4, 8 cores, 2 threads")


def test_what_a_row_does_not_tell_is_the_code(row: CellRow) -> None:
    assert reasons([row]) == ("code",)


def test_versions_and_threads_are_named_each_once(row: CellRow) -> None:
    older = replace(row, versions=row.versions.replace("torch 2", "torch 1"))
    fewer = replace(row, hardware="A 4, 8 cores, 1 threads")
    old, threads = reasons([older, fewer, fewer])
    assert old.startswith("versions (torch 1")
    assert threads == "threads (1 threads, now 2 threads)"


def test_it_is_said_in_one_line() -> None:
    said = str(Outdated(1, ("code", "threads (1 threads, now 2 threads)"), Path("run.before-1.sqlite")))
    assert said == (
        "1 cell was measured with other code, threads (1 threads, now 2 threads); measured again. "
        "The run as it was: run.before-1.sqlite"
    )
