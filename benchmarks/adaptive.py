"""Times steps of DAM by mergeward and by FusionBench, and measures their memory.

    python benchmarks/adaptive.py [--quick] [--peers none] [--json docs/benchmarks/adaptive.json]

Both learn on the same random-weight CLIP image tower, from random images that are in memory before the first
step. Makes the checkpoints on first use (about 3 GB). Nothing else should run meanwhile. What is measured,
and how, is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import curves, options, rows
from harness.measure import Run
from harness.rows import Row
from harness.steps import QUICK_TOWER, SETTINGS, VIT_B_32, Bench, Tower
from peers import environments
from peers.catalogue import PEERS

PEER = PEERS["fusion-bench"]
REPEATS = 3


@dataclass(frozen=True)
class Comparison:
    """What is compared with the peer.

    Attributes:
        tower: What is merged.
        settings: Ways to run ours.
    """

    tower: Tower
    settings: Sequence[str]


FULL = Comparison(VIT_B_32, tuple(SETTINGS))
QUICK = Comparison(QUICK_TOWER, ("released, float32", "paper, bfloat16, small"))


def compared(bench: Bench, comparison: Comparison, repeats: int) -> list[Row]:
    """Time ours, in every way asked for, and the peer in turn; one row a way."""
    tower = comparison.tower
    ours: dict[str, list[Run]] = {setting: [] for setting in comparison.settings}
    theirs: list[Run] = []
    for _ in range(repeats):
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


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Time steps of DAM by mergeward and by FusionBench.")
    parser.add_argument("--peers", default="all", choices=("all", "none"), help="(%(default)s)")
    parser.add_argument("--no-curves", action="store_true", help="leave out the loss curves")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    interpreter = environments.interpreter(PEER, given.cache) if given.peers == "all" else None
    comparison = QUICK if given.quick else FULL
    repeats = given.repeats or (1 if given.quick else REPEATS)
    with tempfile.TemporaryDirectory(dir=given.cache, prefix="scratch-") as scratch:
        bench = Bench(given.cache, Path(scratch), interpreter)
        found = compared(bench, comparison, repeats)
        shown = [] if given.no_curves else curves.measure(given.cache, quick=given.quick)
        setting = {**bench.setting(comparison.tower), "repeats": repeats}
    sys.stdout.write(rows.markdown(found))
    sys.stdout.write(curves.markdown(shown))
    if given.json:
        rows.write(given.json, found, setting, curves=shown)


if __name__ == "__main__":
    main()
