"""Cells that a run's file has and that would be measured otherwise now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeward.bench.code import versions
from mergeward.bench.rows import CellRow
from mergeward.compute import thread_count


@dataclass(frozen=True)
class Outdated:
    """What is measured again when a run goes on.

    Attributes:
        cells: How many.
        reasons: With what other things they were measured, in words.
        kept: The run's file as it was.
    """

    cells: int
    reasons: tuple[str, ...]
    kept: Path

    def __str__(self) -> str:
        """Say it in one line."""
        cells = "1 cell was" if self.cells == 1 else f"{self.cells} cells were"
        reasons = ", ".join(self.reasons)
        return f"{cells} measured with other {reasons}; measured again. The run as it was: {self.kept}"


def reasons(rows: Sequence[CellRow]) -> tuple[str, ...]:
    """Return with what other things than there are now cells were measured.

    A row tells versions and threads. One that differs in neither differs in code: mergeward's, that of a
    plug-in, or the files beside the base's weights.
    """
    return tuple(dict.fromkeys(reason for row in rows for reason in _reasons(row)))


def _reasons(row: CellRow) -> Iterator[str]:
    here, there = versions().split(", "), row.versions.split(", ")
    others = [one for one in there[: len(here)] if one not in here]
    threads = row.hardware.rpartition(", ")[2]
    if others:
        yield f"versions ({', '.join(others)})"
    if threads != (now := f"{thread_count()} threads"):
        yield f"threads ({threads}, now {now})"
    elif not others:
        yield "code"
