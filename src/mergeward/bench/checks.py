"""What a suite asks for and its tasks and base must have, found out before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mergeward.bench.grid import Cell
from mergeward.bench.models import Backdoor
from mergeward.bench.needs import needed
from mergeward.bench.workshop import Workshop
from mergeward.errors import UsageError
from mergeward.tasks import Task


def check_names(suite: str, names: Sequence[str]) -> None:
    """Check that results can tell the tasks of a suite apart, which they know by their names.

    Raises:
        UsageError: Two have one name.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"suite {suite}: tasks: two of the name {name!r}")


def check_backdoors(suite: str, workshop: Workshop, cells: Iterable[Cell]) -> None:
    """Check the backdoors of a suite's cells.

    Raises:
        UsageError: An attacked task has no such class.
    """
    for one in needed(workshop, cells).values():
        if one.backdoor is not None:
            _check_class(one.backdoor, workshop.task(one.backdoor.target_task, one.seed))


def _check_class(backdoor: Backdoor, task: Task) -> None:
    task.class_index(backdoor.target_class)
