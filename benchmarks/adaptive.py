"""Times steps of DAM by mergeward and by FusionBench, and measures their memory.

    python benchmarks/adaptive.py [--quick] [--peers none] [--json docs/benchmarks/adaptive.json]

Both learn on the same random-weight CLIP image tower, from random images that are in memory before the first
step. Makes the checkpoints on first use (about 5 GB). Nothing else should run meanwhile. What is measured,
and how, is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import checkpoints, curves, options, rows, tools
from harness import dam as worker
from harness.measure import Bounds, Run, available_mb
from harness.rows import Row
from mergeward.compute import thread_count
from peers import environments
from peers.catalogue import DRIVERS, PEERS

PEER = PEERS["fusion-bench"]
DRIVER = DRIVERS / "run_fusion_bench_dam.py"
MEMORY_SHARE = 0.85
REPEATS = 3
WARM_STEPS = 1
"""Steps of a run that are not counted: the first one also pays for memory."""

COMMON = {"granularity": "task"}
HALF = {"precision": "bfloat16"}
RELEASED = {"variant": "released", "micro_batch": 16}
SMALL = {"task_vectors": "bfloat16", "micro_batch": 16}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "released, float32": RELEASED,
    "released, bfloat16": {**RELEASED, **HALF},
    "paper, float32": {},
    "paper, float32, small": SMALL,
    "paper, bfloat16, small": {**SMALL, **HALF},
    "paper, bfloat16, task vectors int8": {**SMALL, **HALF, "task_vectors": "int8"},
}
"""Ways to run ours, by name; `small` is bfloat16 task vectors and 16 images a pass, to take less memory."""

GROWN = ("paper, float32, small", "paper, bfloat16, small")
"""What is shown as it grows."""


@dataclass(frozen=True)
class Tower:
    """An image tower with a number of contributions.

    Attributes:
        name: What to call it.
        width, layers, patch: Its size.
        contributions: How many are merged; there are as many tasks.
        images: Images a task and batch.
    """

    name: str
    width: int
    layers: int
    patch: int = 32
    side: int = 224
    contributions: int = 6
    images: int = 16

    @property
    def model(self) -> checkpoints.Model:
        """Its checkpoints."""
        return checkpoints.clip_vision(
            self.name, width=self.width, layers=self.layers, patch=self.patch, image=self.side
        )

    @property
    def vision(self) -> dict[str, int]:
        """Its configuration, as `transformers.CLIPVisionConfig` takes it."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 64,
            "image_size": self.side,
            "patch_size": self.patch,
            "projection_dim": self.width * 3 // 4,
        }


@dataclass(frozen=True)
class Sizes:
    """What a run measures on."""

    compared: Tower
    settings: Sequence[str]
    contributions: Sequence[int]
    grown: Sequence[Tower]
    timed_steps: int


FULL = Sizes(
    Tower("vit-b-32", 768, 12),
    tuple(SETTINGS),
    (2, 4, 6, 8, 10, 12),
    tuple(Tower(f"vit-b-32-{layers}-layers", 768, layers) for layers in (3, 6, 9)),
    timed_steps=1,
)
_SMALL = Tower("quick-tower", 64, 2, contributions=2, images=2)
QUICK = Sizes(
    _SMALL,
    ("released, float32", "paper, bfloat16, small"),
    (2, 3),
    (replace(_SMALL, name="quick-tower-1-layer", layers=1),),
    timed_steps=1,
)


@dataclass(frozen=True)
class Bench:
    """What a run of this script measures with.

    Attributes:
        cache: Folder of checkpoints.
        scratch: Folder for jobs and their results.
        interpreter: The peer's Python; None leaves the peer out.
        repeats: Runs of each.
        bounds: When a run is stopped.
        timed_steps: Steps of a run that are counted.
    """

    cache: Path
    scratch: Path
    interpreter: Path | None
    repeats: int
    bounds: Bounds
    timed_steps: int
    threads: int = field(default_factory=thread_count)

    def ours(self, tower: Tower, setting: str) -> Run:
        """Run ours once."""
        return self._run([sys.executable, worker.__file__], tower, {**COMMON, **SETTINGS[setting]})

    def theirs(self, tower: Tower) -> Run:
        """Run the peer once."""
        return self._run([str(self.interpreter), str(DRIVER)], tower, {})

    def _run(self, command: Sequence[str], tower: Tower, parameters: Mapping[str, Any]) -> Run:
        """Run one job; its seconds are those of the median step that counts."""
        base, *contributions = checkpoints.make(tower.model, tower.contributions, self.cache / "checkpoints")
        job, result = self.scratch / "job.json", self.scratch / "result.json"
        result.unlink(missing_ok=True)
        content = {
            "base": str(base),
            "contributions": [str(path) for path in contributions],
            "vision": tower.vision,
            "images": tower.images,
            "steps": WARM_STEPS + self.timed_steps,
            "threads": self.threads,
            "parameters": dict(parameters),
            "result": str(result),
        }
        job.write_text(json.dumps(content), encoding="utf-8")
        env = tools.without_ours() if command[0] == str(self.interpreter) else {**os.environ, **tools.QUIET}
        done = tools.Job([*command, str(job)], env, self.scratch / "output").run(self.bounds)
        if done.failure is not None:
            return done
        steps = json.loads(result.read_text(encoding="utf-8"))["seconds"]
        return replace(done, seconds=median(steps[WARM_STEPS:] or steps))


def compared(bench: Bench, sizes: Sizes) -> list[Row]:
    """Time ours, in every way asked for, and the peer in turn; one row a way."""
    tower = sizes.compared
    ours: dict[str, list[Run]] = {setting: [] for setting in sizes.settings}
    theirs: list[Run] = []
    for _ in range(bench.repeats):
        for setting, runs in ours.items():
            runs.append(bench.ours(tower, setting))
            sys.stderr.write(f"{setting}: {runs[-1]}\n")
        if bench.interpreter is not None and not any(run.failure for run in theirs):
            theirs.append(bench.theirs(tower))
            sys.stderr.write(f"{PEER.name}: {theirs[-1]}\n")
    place = f"{tower.contributions} of {tower.name}"
    peer = {"peer": PEER.name, "version": PEER.version, "theirs": theirs} if theirs else {}
    found = [rows.row(f"step of dam, {setting}, {place}", runs, **peer) for setting, runs in ours.items()]
    # Processor time is that of whole runs, and a row has the time of one step.
    return [replace(one, ours_cpu_seconds=None, peer_cpu_seconds=None) for one in found]


def growth(bench: Bench, sizes: Sizes) -> list[dict[str, object]]:
    """Measure ours for growing numbers of contributions, and for growing towers."""
    settings = [setting for setting in GROWN if setting in sizes.settings] or list(sizes.settings)
    jobs = [
        ("contributions", count, replace(sizes.compared, contributions=count))
        for count in sizes.contributions
    ]
    jobs += [("layers", tower.layers, tower) for tower in (*sizes.grown, sizes.compared)]
    points: list[dict[str, object]] = []
    for axis, x, tower in jobs:
        for setting in settings:
            run = bench.ours(tower, setting)
            sys.stderr.write(f"growth: {setting}, {axis} {x}: {run}\n")
            good = run.failure is None
            points.append(
                {
                    "axis": axis,
                    "setting": setting,
                    "x": x,
                    "seconds": round(run.seconds, 4) if good else None,
                    "peak_mb": round(run.peak_mb, 1) if good else None,
                }
            )
    return points


def setting_of(bench: Bench, sizes: Sizes) -> dict[str, object]:
    """Return what the figures hold for."""
    tower = sizes.compared
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "processors": os.cpu_count(),
        "threads": bench.threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "repeats": bench.repeats,
        "timed_steps": bench.timed_steps,
        "tower_mb": round(tower.model.nbytes / 1e6),
        "images_a_task": tower.images,
    }


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Time steps of DAM by mergeward and by FusionBench.")
    parser.add_argument("--peers", default="all", choices=("all", "none"), help="(%(default)s)")
    parser.add_argument("--no-growth", action="store_true", help="leave out growth with number and size")
    parser.add_argument("--no-curves", action="store_true", help="leave out the loss curves")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one run (%(default)s)")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    interpreter = environments.interpreter(PEER, given.cache) if given.peers == "all" else None
    bounds = Bounds(given.timeout, available_mb() * MEMORY_SHARE)
    sizes = QUICK if given.quick else FULL
    repeats = given.repeats or (1 if given.quick else REPEATS)
    with tempfile.TemporaryDirectory(dir=given.cache, prefix="scratch-") as scratch:
        bench = Bench(given.cache, Path(scratch), interpreter, repeats, bounds, sizes.timed_steps)
        found = compared(bench, sizes)
        grown = [] if given.no_growth else growth(bench, sizes)
        shown = [] if given.no_curves else curves.measure(given.cache, quick=given.quick)
        setting = setting_of(bench, sizes)
    sys.stdout.write(rows.markdown(found))
    sys.stdout.write(curves.markdown(shown))
    if given.json:
        rows.write(given.json, found, setting, growth=grown, curves=shown)


if __name__ == "__main__":
    main()
