"""A run and lines of a run, invented."""

from __future__ import annotations

from pathlib import Path

from mergeward.bench.estimate import Estimate
from mergeward.bench.measure import Measured
from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
from mergeward.bench.summary import Line
from mergeward.evaluate import Rate

SUITE = {"name": "s", "title": "A <suite>", "summary": "About.", "source": "", "seeds": [0, 1]}


def a_run() -> RunFile:
    """Return a run of two merges with two seeds, one cell of which failed."""
    cells, rates = [], {}
    for seed in (0, 1):
        for kind in ("base", "clean merge", "clean retrain", "attacked merge"):
            for method, success in (("ties", 90), ("dam", 10)) if kind != "base" else (("none", 5),):
                attack = "badnets" if kind == "attacked merge" else "none"
                name = f"{kind}-{method}-{seed}"
                cells.append(
                    CellRow(name, len(cells), kind, attack, method, "none", {}, ("warm",), seed, "done")
                )
                rate = Rate(success if attack == "badnets" else 4 + seed, 100)
                rates[name] = (
                    Measured("accuracy", "warm", Rate(70 + seed, 100)),
                    Measured("success", "warm", rate, "badnets", "warm", "red"),
                )
    cells.append(
        CellRow("failed", 99, "clean merge", "none", "emr", "none", {}, (), 0, "failed", error="<no luck>")
    )
    return RunFile(Path("run.sqlite"), {"suite": SUITE, "base": "0" * 64, "data": None}, tuple(cells), rates)


def a_line(
    kind: str,
    axes: dict[str, object],
    success: float | None,
    *,
    attack: str = "badnets",
    method: str = "ties",
    defense: str = "none",
) -> Line:
    """Return one; every merge has the accuracy 0.5, every clean one the success 0.1."""
    rate = None if success is None else Estimate(success, success, success, 3)
    return Line(
        kind=kind,
        attack=attack if kind == "attacked merge" else "none",
        method=method,
        defense=defense,
        axes=axes,
        tasks=("warm",),
        trigger=attack,
        accuracy=Estimate(0.5, 0.4, 0.6, 3),
        success=rate,
        untriggered=None,
        clean_success=Estimate(0.1, 0.1, 0.1, 3) if kind == "attacked merge" else None,
        retrain_success=None,
        transfer=None,
        accuracy_by_task={"warm": Estimate(0.5, 0.4, 0.6, 3), "cold": Estimate(0.5, 0.4, 0.6, 3)},
        merge_seconds=None,
        merge_peak_bytes=None,
        defense_seconds=None,
        attack_seconds=None,
    )
