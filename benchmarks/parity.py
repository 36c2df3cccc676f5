"""Compares merges by mergeward with those of its peers, element by element.

    python benchmarks/parity.py [--peers mergekit,peft] [--only ties] [--json docs/benchmarks/parity.json]

Both tools merge the same small checkpoints (`peers/small.py`). Where they are known not to agree, the table
says why; a difference that `peers/comparisons.py` does not explain makes the exit code 1.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, rows, tools
from harness.measure import Bounds, Run
from harness.rows import Row
from peers import environments, small
from peers.catalogue import PEERS, chosen
from peers.comparisons import COMPARISONS, ROUNDING, Comparison
from peers.difference import Difference, difference

BOUNDS = Bounds(seconds=300, megabytes=4000)


@dataclass(frozen=True)
class ParityRow(Row):
    """A row with how far the two merges are apart.

    Attributes:
        max_difference: Largest absolute difference of two elements.
        max_relative: The same in units of the largest change that the peer made.
        agreement: Share of elements that agree but for rounding.
        deviation: Why they are not meant to agree everywhere; empty where they are.
    """

    max_difference: float | None = None
    max_relative: float | None = None
    agreement: float | None = None
    deviation: str = ""

    @property
    def unexplained(self) -> bool:
        """Whether the two differ, and nothing says why."""
        return self.agreement is not None and self.agreement < 1 and not self.deviation


def compare(comparison: Comparison, cache: Path, scratch: Path, repeats: int) -> ParityRow:
    """Run one comparison `repeats` times and return the worst of it."""
    peer = PEERS[comparison.peer]
    inputs = small.make(scratch, comparison.contributions, comparison.without)
    jobs = (
        tools.ours(comparison.ours, inputs, scratch),
        tools.theirs(peer, environments.interpreter(peer, cache), comparison.theirs, inputs, scratch),
    )
    found: list[Difference] = []
    runs: tuple[list[Run], list[Run]] = ([], [])
    for _ in range(repeats):
        for job, kept in zip(jobs, runs, strict=True):
            kept.append(job.run(BOUNDS))
        if not any(kept[-1].failure for kept in runs):
            own, other, base = (tools.read(path) for path in (*(job.output for job in jobs), inputs.base))
            found.append(difference(own, other, base, rounding=ROUNDING, kept_only=comparison.random))
    return parity_row(comparison, runs[0], runs[1], found)


def parity_row(
    comparison: Comparison, ours: Sequence[Run], theirs: Sequence[Run], found: Sequence[Difference]
) -> ParityRow:
    """Return the row of one comparison."""
    remarks = dict.fromkeys(remark for one in found for remark in one.remarks)
    timed = rows.row(
        comparison.name,
        ours,
        peer=comparison.peer,
        version=PEERS[comparison.peer].version,
        theirs=theirs,
        note="; ".join(remarks),
    )
    return ParityRow(
        **asdict(timed),
        max_difference=max((one.largest for one in found), default=None),
        max_relative=max((one.relative for one in found), default=None),
        agreement=min((one.agreement for one in found), default=None),
        deviation=comparison.deviation,
    )


def markdown(compared: Sequence[ParityRow]) -> str:
    """Return the rows as a Markdown table."""
    heads = ("method", "peer", "largest difference", "relative", "agree", "why they differ", "note")
    return rows.table(heads, [_cells(one) for one in compared], left=(0, 1, 5, 6))


def _cells(one: ParityRow) -> tuple[str, ...]:
    unexplained = "**not explained**" if one.unexplained else ""
    return (
        one.name,
        f"{one.peer} {one.peer_version}",
        _small(one.max_difference),
        _small(one.max_relative),
        _share(one.agreement),
        one.deviation or unexplained,
        one.note,
    )


def _share(value: float | None) -> str:
    """Write a share as per cent, and 100 only where it is all."""
    if value is None:
        return "–"
    return "100 %" if value == 1 else f"{min(100 * value, 99.99):.2f} %"


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}" if value else "0"


def main() -> int:
    """Run the comparisons; 1 if one differs and nothing says why."""
    parser = options.parser("Compare merges with those of the peers, element by element.")
    parser.add_argument("--peers", default="all", help="all, or names with commas between (%(default)s)")
    parser.add_argument("--only", default="", help="only methods whose name begins so")
    given = parser.parse_args()
    names = {peer.name for peer in chosen(given.peers)}
    wanted = [one for one in COMPARISONS if one.peer in names and one.name.startswith(given.only)]
    if given.quick:
        wanted = [one for one in wanted if one.name in QUICK]
    repeats = given.repeats or 1  # a repetition shows only whether a tool is deterministic
    compared = []
    for one in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            compared.append(compare(one, given.cache, Path(scratch), repeats))
        sys.stderr.write(f"{one.name}, {one.peer}: {_cells(compared[-1])[2:5]} {compared[-1].note}\n")
    sys.stdout.write(markdown(compared))
    if given.json:
        rows.write(given.json, compared, {"rounding": ROUNDING, "repeats": repeats})
    return int(any(one.unexplained for one in compared))


QUICK = {"average", "task_arithmetic", "ties, sum"}
"""What `--quick` compares."""

if __name__ == "__main__":
    sys.exit(main())
