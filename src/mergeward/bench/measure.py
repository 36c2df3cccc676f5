"""What is measured on the model of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeAlias

import torch

from mergeward.bench.cost import Cost
from mergeward.bench.grid import Cell
from mergeward.bench.models import Contribution, Hardened, Merged
from mergeward.bench.workshop import Workshop
from mergeward.cache import content_key
from mergeward.evaluate import Rate, accuracy, attack_success, transfer

Measure: TypeAlias = Literal["accuracy", "success", "untriggered", "transfer", "changed"]
"""What a rate is of; see `Measured`."""


@dataclass(frozen=True)
class Measured:
    """A rate on the test images of one task.

    Attributes:
        measure: "accuracy": images given their class. "success": triggered images of the attacked task
            given the target class, among those of other classes. "untriggered": the same without the
            trigger. "transfer": with it, on a task that the trigger does not aim at, with the class of the
            target's number there (`evaluate.transfer`).
            "changed": images given another class with the trigger than without.
        task: Name of the task.
        rate: Successes among trials.
        attack: Which trigger, by `trigger_id`; empty for accuracy.
        target_task: Name of the task that the trigger aims at; empty for accuracy.
        target_class: Name of the class that the trigger asks for; empty for accuracy.
    """

    measure: Measure
    task: str
    rate: Rate
    attack: str = ""
    target_task: str = ""
    target_class: str = ""


@dataclass(frozen=True)
class Outcome:
    """A cell, measured.

    Attributes:
        rates: What was measured.
        costs: What the attackers' contributions (in sum), the merge, and the defense took when they were
            made; None for a part that the cell has not.
        collapsed: For which tasks predictions collapsed onto few classes while its merge learnt or was
            hardened, in words; None for what is no merge, or was made before this was recorded.
    """

    rates: tuple[Measured, ...]
    costs: tuple[Cost | None, Cost | None, Cost | None]
    collapsed: tuple[str, ...] | None = None

    @property
    def accuracy(self) -> float:
        """Mean over the tasks."""
        return fmean(rate.value for rate in self.accuracies.values())

    @property
    def accuracies(self) -> dict[str, Rate]:
        """Accuracy by name of the task."""
        return {one.task: one.rate for one in self.rates if one.measure == "accuracy"}

    @property
    def successes(self) -> dict[str, Rate]:
        """Attack success on the attacked task, by `trigger_id`; the first where an attack has several."""
        found: dict[str, Rate] = {}
        for one in self.rates:
            if one.measure == "success":
                found.setdefault(one.attack, one.rate)
        return found


def run_cell(workshop: Workshop, cell: Cell) -> Outcome:
    """Make what a cell needs, measure it, and return the figures."""
    return Outcome(tuple(_rates(workshop, cell)), _costs(workshop, cell), _collapsed(workshop, cell))


def cell_key(workshop: Workshop, cell: Cell) -> str:
    """Return the hash of a cell: what it measures on which model, and what the suite calls it."""
    return content_key(
        {
            "model": workshop.key(cell.model),
            "triggers": [[name, workshop.key(one)] for name, one in cell.triggers],
            "measured": [workshop.task(spec, cell.seed).fingerprint for spec in cell.measured],
            "transfer": cell.transfer,
            "names": [cell.kind, cell.attack, cell.method, cell.defense, dict(cell.axes), cell.seed],
            "tasks": list(cell.tasks),
        }
    )


def is_cached(workshop: Workshop, cell: Cell) -> bool:
    """Whether everything that a cell measures is in the store."""
    asked = [None, *(contribution for _, contribution in cell.triggers)]
    return all(workshop.has_predicted(cell.model, _measured_with(cell, one), cell.seed, one) for one in asked)


def _rates(workshop: Workshop, cell: Cell) -> Iterator[Measured]:
    tasks = {spec: workshop.prepared(spec, cell.seed) for spec in cell.measured}
    clean = workshop.predictions(cell.model, cell.measured, cell.seed)
    for spec, one in tasks.items():
        yield Measured("accuracy", one.task.name, accuracy(clean[spec], one.labels("test")))
    for name, contribution in cell.triggers:
        yield from _of_trigger(workshop, cell, name, contribution)


def _of_trigger(workshop: Workshop, cell: Cell, name: str, contribution: Contribution) -> Iterator[Measured]:
    backdoor = contribution.backdoor
    if backdoor is None:
        raise ValueError("a clean contribution has no trigger")
    specs = _measured_with(cell, contribution)
    clean = workshop.predictions(cell.model, cell.measured, cell.seed)
    triggered = workshop.predictions(cell.model, specs, cell.seed, contribution)
    aimed = workshop.task(backdoor.target_task, cell.seed)
    label = aimed.class_index(backdoor.target_class)
    for spec in specs:
        task = workshop.prepared(spec, cell.seed)
        labels = task.labels("test")
        about = (name, aimed.name, aimed.class_names[label])
        if spec == backdoor.target_task:
            yield Measured("success", task.task.name, attack_success(triggered[spec], labels, label), *about)
            yield Measured("untriggered", task.task.name, attack_success(clean[spec], labels, label), *about)
        elif (rate := transfer(triggered[spec], labels, label, len(task.task.class_names))) is not None:
            yield Measured("transfer", task.task.name, rate, *about)
        changed = int(torch.count_nonzero(triggered[spec] != clean[spec]))
        yield Measured("changed", task.task.name, Rate(changed, len(labels)), *about)


def _measured_with(cell: Cell, trigger: Contribution | None) -> tuple[str, ...]:
    """Return the tasks whose images get a trigger: the one it aims at, and the others where that is asked."""
    if trigger is None or trigger.backdoor is None or cell.transfer:
        return cell.measured
    return tuple(spec for spec in cell.measured if spec == trigger.backdoor.target_task)


def _costs(workshop: Workshop, cell: Cell) -> tuple[Cost | None, Cost | None, Cost | None]:
    match cell.model:
        case Merged() as merged:
            return _attacks(workshop, merged.pool), workshop.cost(merged), None
        case Hardened() as hardened:
            pool = hardened.merge.pool
            return _attacks(workshop, pool), workshop.cost(hardened.merge), workshop.cost(hardened)
        case Contribution() as contribution:
            return _attacks(workshop, (contribution,)), None, None
        case _:
            return None, None, None


def _collapsed(workshop: Workshop, cell: Cell) -> tuple[str, ...] | None:
    match cell.model:
        case Merged() as merged:
            return workshop.collapsed(merged)
        case Hardened() as hardened:
            before, own = workshop.collapsed(hardened.merge), workshop.collapsed(hardened)
            return None if before is None or own is None else (*before, *own)
        case _:
            return None


def _attacks(workshop: Workshop, pool: tuple[Contribution, ...]) -> Cost | None:
    costs = [workshop.cost(one) for one in pool if one.backdoor is not None and not _is_second(one, pool)]
    if not costs:
        return None
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Cost(sum(cost.seconds for cost in costs), max(peaks, default=None))


def _is_second(one: Contribution, pool: tuple[Contribution, ...]) -> bool:
    """Whether a contribution was made together with another of the pool."""
    return one.is_partner and replace(one, is_partner=False) in pool
