"""What whole runs took: pieces that cells share count once."""

from __future__ import annotations

from dataclasses import replace

import whole_runs

from invented_run import a_run
from mergeward.bench.store import RunFile


def a_costly_run(name: str, seconds: float) -> RunFile:
    """Return a run of three cells; two share a merge, and the attacker's contribution is named twice."""
    clean, attacked = (
        next(row for row in a_run().cells if row.kind == kind) for kind in ("clean merge", "attacked merge")
    )
    rows = [
        replace(clean, merge_seconds=2.0, merge_peak_bytes=5_000_000, seconds=seconds),
        replace(clean, cell="again", merge_seconds=2.0, merge_peak_bytes=5_000_000, seconds=seconds),
        replace(attacked, kind="attacker alone", attack_seconds=30.0, attack_peak_bytes=9_000_000),
        replace(attacked, attack_seconds=30.0, merge_seconds=3.0, defense_seconds=4.0),
    ]
    when = [f"2026-01-02T0{number}:00:00+00:00" for number in range(4)]
    cells = tuple(replace(row, finished=at, hardware="a machine") for row, at in zip(rows, when, strict=True))
    run = a_run()
    about = {**run.about, "suite": {**run.about["suite"], "name": name}}
    return replace(run, about=about, cells=cells)


def test_a_piece_counts_once_in_a_run_and_once_in_all() -> None:
    rows = whole_runs.whole_runs([a_costly_run("a", 1.0), a_costly_run("b", 10.0)]).splitlines()[2:]
    assert rows == [
        "| [`a`](run.md) | 4 | 1 | 30 | 9 | 2 | 3:00 | 9 | 2026-01-02 | a machine |",
        "| [`b`](run.md) | 4 | 1 | 30 | 9 | 20 | 3:00 | 9 | 2026-01-02 | a machine |",
        "| all, each piece once | 8 |  | 30 | 9 | 22 |  | 9 |  |  |",
    ]
