"""The lines of a run's table: cells of all seeds together, each with its controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mergeward.bench.estimate import Estimate, estimate
from mergeward.bench.grid import is_of_attacks
from mergeward.bench.measure import Measure
from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
from mergeward.evaluate import Rate


@dataclass(frozen=True)
class Line:
    """One model of a suite, over all seeds.

    Attributes:
        kind: What it is for; see `grid.Cell`.
        attack: What the suite calls the attack, or "none".
        method: What the suite calls the merge method, or "none".
        defense: What the suite calls the defense, or "none".
        axes: Where on the suite's axes it lies.
        tasks: Specs of the tasks that it is measured on.
        trigger: Which trigger the success is of, by `trigger_id`; empty where there is none.
        accuracy: Mean over the tasks.
        success: Attack success on the attacked task; of an attack with several attackers, the mean of theirs.
        untriggered: The same without the trigger: what the model says of such images in any case.
        clean_success: The same trigger on the merge of clean contributions by the same method: the control.
            None unless it was measured for every seed.
        retrain_success: The same trigger on the merge with a clean retrain in the attacker's place; likewise.
        transfer: Mean over the tasks that no trigger of the attack aims at.
        clean_transfer: The control of that: on the merge of clean contributions, for every seed.
        accuracy_by_task: Accuracy of each task.
        merge_seconds: Mean over the seeds.
        merge_peak_bytes: The most over the seeds.
        defense_seconds: Mean over the seeds.
        attack_seconds: Mean over the seeds.
        collapsed: For how many seeds predictions for a task collapsed onto few classes as the merge was made;
            None where that is not known.
    """

    kind: str
    attack: str
    method: str
    defense: str
    axes: Mapping[str, Any]
    tasks: tuple[str, ...]
    trigger: str
    accuracy: Estimate
    success: Estimate | None
    untriggered: Estimate | None
    clean_success: Estimate | None
    retrain_success: Estimate | None
    transfer: Estimate | None
    clean_transfer: Estimate | None
    accuracy_by_task: Mapping[str, Estimate]
    merge_seconds: float | None
    merge_peak_bytes: int | None
    defense_seconds: float | None
    attack_seconds: float | None
    collapsed: int | None = None

    @property
    def difference(self) -> float | None:
        """What the attacker adds: the mean success less that on the clean merge, from -1 to 1."""
        if self.success is None or self.clean_success is None:
            return None
        return self.success.mean - self.clean_success.mean


def summarise(run: RunFile) -> tuple[Line, ...]:
    """Return one line for each model of a run and each trigger that it was shown, in the suite's order.

    A model that was shown no trigger has one line. Cells that failed are left out.
    """
    groups: dict[tuple[str, ...], list[CellRow]] = {}
    for row in run.done:
        for trigger in _triggers(run, row) or ("",):
            groups.setdefault((trigger, *_identity(row)), []).append(row)
    return tuple(_line(run, rows, trigger) for (trigger, *_), rows in groups.items())


def _identity(row: CellRow) -> tuple[str, ...]:
    """What cells of different seeds have in common but for triggers, which a control may lack in one."""
    axes = json.dumps(row.axes, sort_keys=True)
    return (row.kind, row.attack, row.method, row.defense, axes, *row.tasks)


def _triggers(run: RunFile, row: CellRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.attack for one in run.rates[row.cell] if one.attack))


def _line(run: RunFile, rows: Sequence[CellRow], trigger: str) -> Line:
    first = rows[0]
    attacked = first.kind == "attacked merge"
    return Line(
        kind=first.kind,
        attack=first.attack,
        method=first.method,
        defense=first.defense,
        axes=first.axes,
        tasks=first.tasks,
        trigger=trigger,
        accuracy=estimate([_rates(run, row, "accuracy", "") for row in rows]),
        success=_estimate(run, rows, "success", trigger),
        untriggered=_estimate(run, rows, "untriggered", trigger),
        clean_success=_control(run, rows, "clean merge", "success", trigger) if attacked else None,
        retrain_success=_control(run, rows, "clean retrain", "success", trigger) if attacked else None,
        transfer=_estimate(run, rows, "transfer", trigger),
        clean_transfer=_control(run, rows, "clean merge", "transfer", trigger) if attacked else None,
        accuracy_by_task=_by_task(run, rows),
        merge_seconds=_mean(row.merge_seconds for row in rows),
        merge_peak_bytes=max((row.merge_peak_bytes for row in rows if row.merge_peak_bytes), default=None),
        defense_seconds=_mean(row.defense_seconds for row in rows),
        attack_seconds=_mean(row.attack_seconds for row in rows),
        collapsed=_collapsed(rows),
    )


def _control(
    run: RunFile, rows: Sequence[CellRow], kind: str, measure: Measure, trigger: str
) -> Estimate | None:
    """Return what the same triggers do on merges that no attacker touched, seed by seed."""
    controls = [
        row
        for row in run.done
        if row.kind == kind
        and trigger in _triggers(run, row)
        and any(_corresponds(row, attacked) for attacked in rows)
    ]
    measured = {row.seed for row in controls}
    if not all(row.seed in measured for row in rows):  # the difference would be one of seeds, too
        return None
    return _estimate(run, controls, measure, trigger)


def _corresponds(control: CellRow, attacked: CellRow) -> bool:
    axes = {axis: value for axis, value in attacked.axes.items() if not is_of_attacks(axis)}
    return (control.method, control.defense, control.seed, control.tasks, dict(control.axes)) == (
        attacked.method,
        attacked.defense,
        attacked.seed,
        attacked.tasks,
        axes,
    )


def _estimate(run: RunFile, rows: Sequence[CellRow], measure: Measure, trigger: str) -> Estimate | None:
    """Return the mean over seeds; of several rates of one cell (tasks, attackers) first their mean."""
    found = [_rates(run, row, measure, trigger) for row in rows]
    return estimate(found) if found and all(found) else None


def _rates(run: RunFile, row: CellRow, measure: Measure, trigger: str) -> list[Rate]:
    own = [one for one in run.rates[row.cell] if one.attack == trigger]
    aims = {one.task for one in own if one.measure == "success"} if measure == "transfer" else set()
    return [one.rate for one in own if one.measure == measure and one.task not in aims]


def _by_task(run: RunFile, rows: Sequence[CellRow]) -> dict[str, Estimate]:
    by_task: dict[str, list[Rate]] = {}
    for row in rows:
        for one in run.rates[row.cell]:
            if one.measure == "accuracy":
                by_task.setdefault(one.task, []).append(one.rate)
    return {task: estimate([[rate] for rate in rates]) for task, rates in by_task.items()}


def _collapsed(rows: Sequence[CellRow]) -> int | None:
    known = [row.collapsed for row in rows if row.collapsed is not None]
    return sum(map(bool, known)) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
