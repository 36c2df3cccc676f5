"""Looking up in results what belongs together: a row and its control, the names in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mergeward.bench.results import Results, Row
from mergeward.report.words import NO_ATTACK


@dataclass(frozen=True)
class Success:
    """An attack success rate with its 95 % Wilson interval, all between 0 and 1.

    Attributes:
        rate: The attack success rate.
        low: Lower end of the interval.
        high: Upper end.
    """

    rate: float
    low: float
    high: float


def success(entry: Mapping[str, float]) -> Success:
    """Read an entry of `Control.asr`."""
    return Success(entry["asr"], entry["asr_low"], entry["asr_high"])


def own_success(row: Row) -> Success:
    """Return what a row measured."""
    return Success(row.asr, row.asr_low, row.asr_high)


def control(row: Row, results: Results) -> Success | None:
    """Return how the row's trigger does on the merge of clean contributions by the same method.

    Args:
        row: One of the results' rows.
        results: The whole run.

    Returns:
        None for a row without an attack, which is a control itself.

    Raises:
        KeyError: The run lacks this control; a number is not reported without it.
    """
    if row.attack == NO_ATTACK:
        return None
    return success(results.controls.clean_merge[row.method].asr[row.attack])


def attacks(results: Results) -> tuple[str, ...]:
    """Return the attacks in the order of the rows, without `none`."""
    return tuple(name for name in _unique(row.attack for row in results.rows) if name != NO_ATTACK)


def groups(results: Results) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Return the rows by attack, in the order in which the attacks first appear."""
    names = _unique(row.attack for row in results.rows)
    return tuple((name, tuple(row for row in results.rows if row.attack == name)) for name in names)


def methods(results: Results) -> tuple[str, ...]:
    """Return the merge methods in the order of the rows."""
    return _unique(row.method for row in results.rows)


def tasks(results: Results) -> tuple[str, ...]:
    """Return the tasks in the order of the rows."""
    return _unique(task for row in results.rows for task in row.accuracy_by_task)


def target_tasks(attack: str, results: Results) -> tuple[str, ...]:
    """Return the tasks that an attack aims at."""
    return _unique(row.target_task for row in results.rows if row.attack == attack)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
