"""What a suite asks for and its tasks and base must have, found out before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mergeward.attack.patches import check_grid
from mergeward.attack.trigger.patch import corner_mask
from mergeward.bench.grid import Cell
from mergeward.bench.models import Backdoor, Contribution
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
        UsageError: An attacked task has no such class, or a trigger is larger than the base's images.
    """
    for one in needed(workshop, cells).values():
        if one.backdoor is not None:
            _check_class(suite, one.backdoor, workshop.task(one.backdoor.target_task, one.seed))
            _check_size(suite, one, one.backdoor, workshop)


def _check_class(suite: str, backdoor: Backdoor, task: Task) -> None:
    try:
        task.class_index(backdoor.target_class)
    except UsageError as error:
        numbers = f"0 to {len(task.class_names) - 1}"
        raise UsageError(f"suite {suite}: target_class: {error} (or a number, {numbers})") from error


def _check_size(suite: str, one: Contribution, backdoor: Backdoor, workshop: Workshop) -> None:
    """Check what attacks call `patch_size`, in pixels, and `patches`, in places of the encoder's grid."""
    parameters = workshop.key(one)["parameters"]
    encoder = workshop.clip.encoder
    try:
        if "patch_size" in parameters:
            corner_mask(encoder.vision_model.config.image_size, parameters["patch_size"])
        if "patches" in parameters:
            check_grid(encoder, parameters["patches"])
    except UsageError as error:
        raise UsageError(f"suite {suite}: attack {backdoor.attack}: {error}") from error
