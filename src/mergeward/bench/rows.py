"""A row of a run: what became of one cell, and what it was computed with."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from mergeward.bench.code import versions
from mergeward.bench.cost import Cost
from mergeward.bench.grid import Cell, cell_label
from mergeward.bench.measure import Outcome
from mergeward.bench.models import packages
from mergeward.compute import thread_count


@dataclass(frozen=True)
class CellRow:
    """A row of the table `cells`; see `bench.store`.

    Attributes:
        cell: Hash of the cell's configuration.
        position: Place in the suite.
        kind: What the cell is for; see `grid.Cell`.
        attack: What the suite calls the attack, or "none".
        method: What the suite calls the merge method, or "none".
        defense: What the suite calls the defense, or "none".
        axes: Where on the suite's axes it lies.
        tasks: Specs of the tasks that it is measured on.
        seed: Its seed.
        status: "done" or "failed".
        error: Cause of the failure, on one line; of a cell that is done, which of its triggers it was
            measured without, and why.
        accuracy: Mean over the tasks.
        success: Mean attack success of its own triggers, each on the task that it aims at.
        attack_seconds: Making the attackers' contributions.
        attack_peak_bytes: The most memory while doing so.
        merge_seconds: Merging, from reading the contributions to the written model.
        merge_peak_bytes: The most memory while doing so.
        defense_seconds: Hardening.
        defense_peak_bytes: The most memory while doing so.
        seconds: Making and measuring what was not in the store.
        versions: Of mergeward, torch, transformers, numpy and Python, and of the packages whose plug-ins took
            part.
        hardware: Processor, cores, and threads that numeric work used.
        finished: When, in UTC.
        collapsed: For which tasks predictions collapsed onto few classes while the merge learnt or was
            hardened, in words; None for what is no merge, and in runs from before this was recorded.
    """

    cell: str
    position: int
    kind: str
    attack: str
    method: str
    defense: str
    axes: Mapping[str, Any]
    tasks: tuple[str, ...]
    seed: int
    status: str
    error: str | None = None
    accuracy: float | None = None
    success: float | None = None
    attack_seconds: float | None = None
    attack_peak_bytes: int | None = None
    merge_seconds: float | None = None
    merge_peak_bytes: int | None = None
    defense_seconds: float | None = None
    defense_peak_bytes: int | None = None
    seconds: float | None = None
    versions: str = ""
    hardware: str = ""
    finished: str = ""
    collapsed: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """What it is, in one line."""
        return cell_label(
            self.kind, (self.attack, self.method, self.defense), self.tasks, self.axes, self.seed
        )


def done_row(
    key: str,
    position: int,
    cell: Cell,
    outcome: Outcome,
    *,
    seconds: float,
    hardware: str,
    lacking: str | None = None,
) -> CellRow:
    """Return the row of a cell that was measured; `lacking` says without which triggers."""
    attack, merge, defense = outcome.costs
    own = [one.rate.value for one in outcome.rates if one.measure == "success"]
    attacked = cell.kind in {"attacked merge", "attacker alone"}
    return _row(
        key,
        position,
        cell,
        status="done",
        error=lacking,
        accuracy=outcome.accuracy,
        success=fmean(own) if own and attacked else None,
        seconds=round(seconds, 3),
        hardware=hardware,
        collapsed=outcome.collapsed,
        **_cost("attack", attack),
        **_cost("merge", merge),
        **_cost("defense", defense),
    )


def failed_row(key: str, position: int, cell: Cell, cause: str) -> CellRow:
    """Return the row of a cell that could not be measured."""
    return _row(key, position, cell, status="failed", error=cause, hardware=hardware())


def _row(key: str, position: int, cell: Cell, **values: Any) -> CellRow:
    return CellRow(
        cell=key,
        position=position,
        kind=cell.kind,
        attack=cell.attack,
        method=cell.method,
        defense=cell.defense,
        axes=cell.axes,
        tasks=cell.measured,
        seed=cell.seed,
        versions=", ".join([versions(), *packages(cell.model, *(one for _, one in cell.triggers))]),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        **values,
    )


@cache
def hardware() -> str:
    """Return what figures were computed on, in words."""
    return f"{_processor()}, {os.cpu_count()} cores, {thread_count()} threads"


def _processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _cost(part: str, cost: Cost | None) -> dict[str, Any]:
    return {} if cost is None else {f"{part}_seconds": cost.seconds, f"{part}_peak_bytes": cost.peak_bytes}
