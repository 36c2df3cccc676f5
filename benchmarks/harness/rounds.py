"""Paired runs: in every round each tool does the same job once, one after the other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import limit
from harness.measure import Bounds, Run
from harness.tools import Inputs, Job, weights_files


@dataclass
class Rounds:
    """What was measured.

    Attributes:
        ours: Runs of ours, one a round.
        theirs: Runs of each peer, one a round; fewer where it failed.
        limits: Seconds of the limit, one a round.
    """

    ours: list[Run] = field(default_factory=list)
    theirs: dict[str, list[Run]] = field(default_factory=dict)
    limits: list[float] = field(default_factory=list)


def rounds(
    ours: Job, theirs: Mapping[str, Job], repeats: int, bounds: Bounds, inputs: Inputs | None = None
) -> Rounds:
    """Run ours and every peer in turn.

    A tool that fails once is not run again. Every output is removed before the next tool starts.

    Args:
        ours: Our job.
        theirs: The peers', by name.
        repeats: How many rounds.
        bounds: When a run is stopped.
        inputs: What is read, if the limit is to be measured too.
    """
    measured = Rounds(theirs={name: [] for name in theirs})
    for _ in range(repeats):
        if inputs is not None:
            measured.limits.append(least_seconds(inputs, ours.output))
        for job, runs in [(ours, measured.ours), *((theirs[name], measured.theirs[name]) for name in theirs)]:
            if not any(run.failure for run in runs):
                runs.append(job.run(bounds))
                job.remove()
    return measured


def least_seconds(inputs: Inputs, output: Path) -> float:
    """Return the seconds to read the inputs once and to write and sync an output of the base's size."""
    files = inputs.files()
    size = sum(file.stat().st_size for file in weights_files(inputs.base))
    scratch = Path(f"{output}.limit")
    command = [sys.executable, limit.__file__, str(scratch), str(size), *map(str, files)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    finally:
        scratch.unlink(missing_ok=True)
    return float(done.stdout)
