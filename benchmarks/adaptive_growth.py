"""Measures how a step of DAM grows with the contributions and with the model, in time and in memory.

    python benchmarks/adaptive_growth.py [--quick] [--json docs/benchmarks/adaptive_growth.json]

Towers and steps are those of `adaptive.py`, with fewer images. Makes the checkpoints on first use
(about 6 GB). Nothing else should run meanwhile.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, plot
from harness.measure import Run
from harness.rows import figure, table
from harness.steps import QUICK_TOWER, VIT_B_32, Bench, Tower

SETTINGS = ("paper, float32, small", "paper, bfloat16, small")
"""Ways to run a step that are shown."""

MEASURES = {"seconds": "seconds a step", "peak_mb": "peak memory, GB"}
MEGABYTES = 1000
"""Of a gigabyte."""


@dataclass(frozen=True)
class Axis:
    """What grows.

    Attributes:
        name: What to call it.
        unit: What is counted.
        towers: The tower at each count.
    """

    name: str
    unit: str
    towers: Mapping[int, Tower]


@dataclass(frozen=True)
class Point:
    """One run.

    Attributes:
        axis: What grows.
        unit: What is counted.
        x: How many there are.
        setting: How it was run.
        seconds: Of a step; None if the run failed.
        peak_mb: Peak memory; None if the run failed.
    """

    axis: str
    unit: str
    x: int
    setting: str
    seconds: float | None
    peak_mb: float | None


def axes(tower: Tower, contributions: Sequence[int], layers: Sequence[int]) -> tuple[Axis, ...]:
    """Return a tower with more and more contributions, and with more and more layers."""
    many = {count: replace(tower, contributions=count) for count in contributions}
    deep = {count: replace(tower, name=f"{tower.name}-{count}-layers", layers=count) for count in layers}
    return (
        Axis("Contributions", "contributions", many),
        Axis(f"Layers, {tower.contributions} contributions", "layers", {**deep, tower.layers: tower}),
    )


FULL_TOWER = replace(VIT_B_32, images=4)
FULL = axes(FULL_TOWER, (2, 4, 6, 8, 10, 12), (3, 6, 9))
QUICK = axes(QUICK_TOWER, (2,), (1,))


def measure(bench: Bench, grown: Sequence[Axis]) -> Iterator[Point]:
    """Yield every point; a tower that stands on two axes is run once."""
    done: dict[tuple[Tower, str], Run] = {}
    for axis in grown:
        for x, tower in axis.towers.items():
            for setting in SETTINGS:
                run = done.get((tower, setting)) or bench.ours(tower, setting)
                done[tower, setting] = run
                sys.stderr.write(f"{setting}, {x} {axis.unit}: {run}\n")
                figures = (None, None) if run.failure else (round(run.seconds, 4), round(run.peak_mb, 1))
                yield Point(axis.name, axis.unit, x, setting, *figures)


def markdown(content: Mapping[str, Any]) -> str:
    """Return the points as a table."""
    heads = ("way to run it", "axis", "count", *MEASURES.values())
    points = [Point(**one) for one in content["points"]]
    lines = [
        (one.setting, one.axis, str(one.x), figure(one.seconds), figure(_gigabytes(one.peak_mb)))
        for one in points
    ]
    return table(heads, lines, left=(0, 1))


def picture(content: Mapping[str, Any]) -> str:
    """Return time and memory over what grows, as SVG."""
    points = [Point(**one) for one in content["points"]]
    panels = []
    for axis in dict.fromkeys(one.axis for one in points):
        for measured, unit in MEASURES.items():
            own = [one for one in points if one.axis == axis]
            panels.append(plot.Panel(axis, own[0].unit, unit, _series(own, measured)))
    return plot.draw(panels)


def _series(points: Sequence[Point], measured: str) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for one in points:
        value = one.seconds if measured == "seconds" else _gigabytes(one.peak_mb)
        if value is not None:
            series.setdefault(one.setting, []).append((one.x, value))
    return series


def _gigabytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes / MEGABYTES


def main() -> None:
    """Measure what the options ask for."""
    given = options.parser("Measure how a step of DAM grows.", repeated=False).parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    grown = QUICK if given.quick else FULL
    with tempfile.TemporaryDirectory(dir=given.cache, prefix="scratch-") as scratch:
        bench = Bench(given.cache, Path(scratch))
        points = [asdict(point) for point in measure(bench, grown)]
        content = {"setting": bench.setting(QUICK_TOWER if given.quick else FULL_TOWER), "points": points}
    sys.stdout.write(markdown(content))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
