"""What changed from one run to another, and whether by more than their intervals allow."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mergeward.bench.about import difference
from mergeward.bench.estimate import Estimate
from mergeward.bench.store import RunFile
from mergeward.bench.summary import Line, summarise

COMPARED = ("accuracy", "success", "transfer")


@dataclass(frozen=True)
class Change:
    """One figure in two runs.

    Attributes:
        line: Which line of the table, in words.
        measure: "accuracy", "success" or "transfer".
        before: In the first run; None where it has no such figure.
        after: In the second.
    """

    line: str
    measure: str
    before: Estimate | None
    after: Estimate | None

    @property
    def is_beyond(self) -> bool:
        """Whether the intervals have nothing in common, or one run lacks the figure."""
        if self.before is None or self.after is None:
            return True
        return self.after.low > self.before.high or self.after.high < self.before.low


def compare(before: RunFile, after: RunFile) -> list[Change]:
    """Return every figure that is not the same in both runs, in the order of the first."""
    first = {_name(line): line for line in summarise(before)}
    second = {_name(line): line for line in summarise(after)}
    changes = [
        Change(name, measure, _figure(first.get(name), measure), _figure(second.get(name), measure))
        for name in {**first, **second}
        for measure in COMPARED
    ]
    return [change for change in changes if change.before != change.after]


def missing(run: RunFile) -> int:
    """Return how many cells of a run were not measured: they failed, or it was not run to its end."""
    return (run.planned or len(run.cells)) - len(run.done)


def differing(before: RunFile, after: RunFile) -> tuple[str, ...]:
    """Return in what two runs differ before any figure: the base, the data, its images, or the suite."""
    keys = ("base", "data", "images", "suite")
    return tuple(
        difference({key: before.about.get(key)}, {key: after.about.get(key)})
        for key in keys
        if before.about.get(key) != after.about.get(key)
    )


def _figure(line: Line | None, measure: str) -> Estimate | None:
    return None if line is None else getattr(line, measure)


def _name(line: Line) -> str:
    """What a line is, without what two runs of one suite may differ in."""
    names = [name for name in (line.attack, line.method, line.defense) if name != "none"]
    axes = json.dumps(dict(line.axes), sort_keys=True) if line.axes else ""
    tasks = " ".join(line.tasks) if line.kind in {"fine-tuned", "attacker alone"} else ""
    parts = [f"{line.kind}:", *names, axes, tasks, f"(trigger {line.trigger})" if line.trigger else ""]
    return " ".join(part for part in parts if part)
