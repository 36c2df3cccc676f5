"""Times merges by mergeward and its peers, and measures their memory.

    python benchmarks/merge.py [--quick] [--peers none] [--json docs/benchmarks/merge.json]

Makes the checkpoints on first use (about 29 GB; `--clean` removes them). Nothing else should run meanwhile.
What is measured, and how, is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import checkpoints, options, rows, tools
from harness.measure import Bounds, available_mb
from harness.rounds import least_seconds, rounds
from harness.rows import Row
from harness.tools import Call, Inputs
from peers import environments, timings
from peers.catalogue import PEERS, Peer, chosen
from peers.timings import Sizes, Timing

MEMORY_SHARE = 0.85
"""Share of the free memory at the start that a tool may take before it is stopped."""

MISTYPED = Call("ties", {"densty": 0.2})


@dataclass(frozen=True)
class Bench:
    """What a run of this script measures with.

    Attributes:
        sizes: The checkpoints.
        interpreters: The Python of each peer that takes part.
        cache: Folder of checkpoints.
        scratch: Folder for outputs, on the same disk.
        repeats: Runs of each command.
        bounds: When a command is stopped.
    """

    sizes: Sizes
    interpreters: Mapping[str, Path]
    cache: Path
    scratch: Path
    repeats: int
    bounds: Bounds

    def inputs(self, model: checkpoints.Model, contributions: int) -> Inputs:
        """Return a base and contributions, made if need be and read once into the system's cache."""
        paths = checkpoints.make(model, contributions, self.cache / "checkpoints")
        inputs = Inputs(paths[0], paths[1:], str(model.dtype).removeprefix("torch."))
        least_seconds(inputs, self.scratch / "warm")
        return inputs

    def compare(self, timing: Timing, inputs: Inputs, place: str, peers: Sequence[Peer]) -> list[Row]:
        """Time one merge by ours and by the peers that have it; one row a peer, or one of ours alone."""
        taking_part = [peer for peer in peers if peer.name in timing.theirs]
        jobs = {
            peer.name: tools.theirs(
                peer, self.interpreters[peer.name], timing.theirs[peer.name], inputs, self.scratch
            )
            for peer in taking_part
        }
        ours = tools.ours(timing.ours, inputs, self.scratch)
        done = rounds(ours, jobs, self.repeats, self.bounds, inputs)
        name = f"{timing.method}, {len(inputs.contributions)} of {place}"
        if not taking_part:
            return [rows.row(name, done.ours, limits=done.limits)]
        return [
            rows.row(
                name,
                done.ours,
                peer=peer.name,
                version=peer.version,
                theirs=done.theirs[peer.name],
                limits=done.limits,
                note=f"{peer.name} {timing.notes[peer.name]}" if peer.name in timing.notes else "",
            )
            for peer in taking_part
        ]

    def first(self, timing: Timing, inputs: Inputs, place: str) -> Row:
        """Time ours on files that it has not hashed before."""
        job = tools.ours(timing.ours, inputs, self.scratch).forgetful(self.scratch / "own-cache")
        done = rounds(job, {}, self.repeats, self.bounds, inputs)
        name = f"{timing.method}, {len(inputs.contributions)} of {place}, files new to it"
        return rows.row(name, done.ours, limits=done.limits)

    def start_up(self) -> list[Row]:
        """Time what each tool takes before it does anything."""
        jobs = {
            name: tools.start_of(PEERS[name], interpreter, self.scratch)
            for name, interpreter in self.interpreters.items()
        }
        done = rounds(tools.start_of_ours(self.scratch), jobs, self.repeats, self.bounds)
        if not jobs:
            return [rows.row("start-up", done.ours)]
        return [
            rows.row("start-up", done.ours, peer=name, version=PEERS[name].version, theirs=done.theirs[name])
            for name in jobs
        ]

    def refusal(self, inputs: Inputs) -> Row:
        """Time the refusal of a recipe with a mistyped parameter, start-up included."""
        job = tools.ours(MISTYPED, inputs, self.scratch)
        runs = [job.run(self.bounds) for _ in range(self.repeats)]
        if not all(run.failure and "densty" in run.failure for run in runs):
            raise RuntimeError(f"a mistyped parameter was not refused by name: {runs[0].failure}")
        job.remove()
        return Row("refusal of a mistyped parameter", median(run.seconds for run in runs))

    def growth(self, methods: Sequence[str]) -> list[dict[str, object]]:
        """Time ours for growing numbers of contributions, and for growing sizes."""
        sizes = self.sizes
        counts = range(2, sizes.plain_contributions + 1)
        points = [
            self._point("contributions", method, self.inputs(sizes.plain, count), count)
            for method in methods
            for count in counts
        ]
        for model in (*sizes.grown, sizes.plain):
            inputs = self.inputs(model, 2)
            points += [self._point("gigabytes", method, inputs, 3 * model.nbytes / 1e9) for method in methods]
        return points

    def _point(self, axis: str, method: str, inputs: Inputs, x: float) -> dict[str, object]:
        call = next(one.ours for one in timings.timings(2) if one.method == method)
        done = rounds(tools.ours(call, inputs, self.scratch), {}, self.repeats, self.bounds)
        row = rows.row(method, done.ours)
        sys.stderr.write(f"growth: {method}, {axis} {x:g}: {rows.figure(row.ours_seconds)} s {row.note}\n")
        return {
            "axis": axis,
            "method": method,
            "x": round(x, 4),
            "seconds": row.ours_seconds,
            "peak_mb": row.ours_peak_mb,
        }


def measure(bench: Bench, *, quick: bool, only: tuple[str, ...]) -> list[Row]:
    """Return the rows of every merge whose name begins with one of `only`."""
    sizes = bench.sizes
    peers = [PEERS[name] for name in bench.interpreters]
    found = _said(bench.start_up())
    plain = bench.inputs(sizes.plain, sizes.timed_contributions)
    found += _said([bench.refusal(plain)])
    for timing in timings.timings(sizes.timed_contributions):
        if timing.method.startswith(only) and (not quick or timing.method in timings.QUICK_METHODS):
            found += _said(bench.compare(timing, plain, sizes.plain.name, peers))
            if timing.method in timings.FIRST_METHODS:
                found += _said([bench.first(timing, plain, sizes.plain.name)])
    language = bench.inputs(sizes.language, sizes.language_contributions)
    sharded = [peer for peer in peers if peer.name in timings.LANGUAGE_PEERS]
    for timing in timings.timings(sizes.language_contributions):
        wanted = timing.method in timings.LANGUAGE_METHODS[: 2 if quick else None]
        if wanted and timing.method.startswith(only):
            found += _said(bench.compare(timing, language, sizes.language.name, sharded))
    return found


def setting(bench: Bench) -> dict[str, object]:
    """Return what the figures hold for."""
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "repeats": bench.repeats,
        "plain_mb": round(bench.sizes.plain.nbytes / 1e6),
        "language_mb": round(bench.sizes.language.nbytes / 1e6),
    }


def _said(found: list[Row]) -> list[Row]:
    for one in found:
        sys.stderr.write(f"{json_line(one)}\n")
    return found


def json_line(one: Row) -> str:
    """Return a row for the terminal, without what is missing."""
    return " ".join(f"{key}={value}" for key, value in asdict(one).items() if value not in {None, ""})


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Time merges by mergeward and its peers.")
    parser.add_argument(
        "--peers", default="all", help="all, none, or names with commas between (%(default)s)"
    )
    parser.add_argument(
        "--only", default="", help="only methods whose name begins so; names with commas between"
    )
    parser.add_argument("--no-growth", action="store_true", help="leave out growth with number and size")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one command (%(default)s)")
    parser.add_argument("--clean", action="store_true", help="remove the checkpoints and do nothing else")
    given = parser.parse_args()
    if given.clean:
        shutil.rmtree(given.cache / "checkpoints", ignore_errors=True)
        return
    given.cache.mkdir(parents=True, exist_ok=True)
    interpreters = {peer.name: environments.interpreter(peer, given.cache) for peer in chosen(given.peers)}
    bounds = Bounds(given.timeout, available_mb() * MEMORY_SHARE)
    sizes = timings.QUICK if given.quick else timings.FULL
    with tempfile.TemporaryDirectory(dir=given.cache, prefix="scratch-") as scratch:
        bench = Bench(sizes, interpreters, given.cache, Path(scratch), options.repeats(given), bounds)
        found = measure(bench, quick=given.quick, only=tuple(given.only.split(",")))
        grown = timings.QUICK_METHODS if given.quick else timings.GROWTH_METHODS
        growth = [] if given.no_growth else bench.growth(grown)
    sys.stdout.write(rows.markdown(found))
    if given.json:
        rows.write(given.json, found, setting(bench), growth=growth)


if __name__ == "__main__":
    main()
