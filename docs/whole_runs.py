"""What whole runs took: `python docs/write_results.py` writes the table into `docs/results/index.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile

Piece = tuple[int, float, int]
"""One thing that was made: its seed, seconds and most memory in bytes, which tell it apart."""

HEADINGS = (
    "run",
    "cells",
    "seeds",
    "attackers' contributions, s",
    "merges and defenses, s",
    "cells, s",
    "first to last cell, h:min",
    "peak memory, MB",
    "finished",
    "hardware",
)


def whole_runs(runs: Sequence[RunFile]) -> str:
    """Return what each run took as a Markdown table, and in its last row all of them, each piece once."""
    rows = [_row(run) for run in runs]
    every = [row for run in runs for row in run.done]
    rows.append(
        (
            "all, each piece once",
            str(len(every)),
            "",
            *_seconds(every),
            "",
            _peak(every),
            "",
            "",
        )
    )
    table = [HEADINGS, ("---", *["---:"] * 7, "---", "---"), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def _row(run: RunFile) -> tuple[str, ...]:
    rows = run.done
    times = sorted(datetime.fromisoformat(row.finished) for row in rows)
    minutes = round((times[-1] - times[0]).total_seconds() / 60)
    return (
        f"[`{run.about['suite']['name']}`]({run.path.stem}.md)",
        str(len(rows)),
        str(len({row.seed for row in rows})),
        *_seconds(rows),
        f"{minutes // 60}:{minutes % 60:02}",
        _peak(rows),
        f"{times[-1]:%Y-%m-%d}",
        "; ".join(dict.fromkeys(row.hardware for row in rows)),
    )


def _seconds(rows: Sequence[CellRow]) -> tuple[str, str, str]:
    """Return the seconds of contributions, of merges with defenses, and of cells."""
    alone = [row for row in rows if row.kind == "attacker alone"]
    attacks = _once((row.seed, row.attack_seconds, row.attack_peak_bytes) for row in alone)
    merges = _once((row.seed, row.merge_seconds, row.merge_peak_bytes) for row in rows)
    defenses = _once((row.seed, row.defense_seconds, row.defense_peak_bytes) for row in rows)
    cells = sum(row.seconds or 0 for row in rows)
    return f"{attacks:.0f}", f"{merges + defenses:.0f}", f"{cells:.0f}"


def _once(pieces: Iterable[tuple[int, float | None, int | None]]) -> float:
    """Return the seconds of several pieces together; one that several cells share counts once."""
    found: set[Piece] = {(seed, seconds, peak or 0) for seed, seconds, peak in pieces if seconds is not None}
    return sum(seconds for _, seconds, _ in sorted(found))


def _peak(rows: Iterable[CellRow]) -> str:
    most = max(
        peak or 0
        for row in rows
        for peak in (row.attack_peak_bytes, row.merge_peak_bytes, row.defense_peak_bytes)
    )
    return f"{most / 1e6:.0f}"
