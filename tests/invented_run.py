"""A run and lines of a run, invented."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

from PIL import Image

from mergeward.bench.estimate import Estimate
from mergeward.bench.gallery import TriggerPicture
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


def a_swept_run(name: str = "swept") -> RunFile:
    """Return a run of two attacks and two merges, by two weights, plain and hardened, with a gallery."""
    cells, rates = [], {}
    for attack, weight, method, defense in itertools.product(
        ("none", "badnets", "wanet"), (0.1, 0.3), ("ties", "average"), ("none", "awm")
    ):
        kind = "clean merge" if attack == "none" else "attacked merge"
        axes = {"method.weight": weight}
        key = f"{attack}-{weight}-{method}-{defense}"
        cells.append(CellRow(key, len(cells), kind, attack, method, defense, axes, ("warm",), 0, "done"))
        success = 4 if attack == "none" else 40 + len(cells)
        triggers = ("badnets", "wanet") if attack == "none" else (attack,)
        rates[key] = (
            Measured("accuracy", "warm", Rate(90 - len(cells), 100)),
            *(Measured("success", "warm", Rate(success, 100), one, "warm", "red") for one in triggers),
        )
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "png")
    png = picture.getvalue()
    shown = TriggerPicture("badnets", 0, "warm", "red", "patch", png, png)
    about = {"suite": {**SUITE, "name": name, "title": name}, "base": "0" * 64, "data": None}
    return RunFile(Path(f"{name}.sqlite"), about, tuple(cells), rates, (shown,))


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
        clean_transfer=None,
        accuracy_by_task={"warm": Estimate(0.5, 0.4, 0.6, 3), "cold": Estimate(0.5, 0.4, 0.6, 3)},
        merge_seconds=None,
        merge_peak_bytes=None,
        defense_seconds=None,
        attack_seconds=None,
    )
