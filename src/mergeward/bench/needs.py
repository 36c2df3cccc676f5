"""What cells need before they can be measured, and what is left of them when some of it cannot be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mergeward.bench.grid import Cell
from mergeward.bench.models import Contribution, contributions
from mergeward.bench.workshop import Workshop
from mergeward.cache import content_key


@dataclass(frozen=True)
class Left:
    """What of a cell can be measured.

    Attributes:
        cell: The cell with those of its triggers that there are; None where nothing can be measured.
        cause: Why it is not the whole cell; None where it is.
    """

    cell: Cell | None
    cause: str | None = None


def needs(cell: Cell) -> tuple[Contribution, ...]:
    """Return the contributions that a cell is measured on and with."""
    return (*contributions(cell.model), *(contribution for _, contribution in cell.triggers))


def needed(workshop: Workshop, cells: Iterable[Cell]) -> dict[str, Contribution]:
    """Return the contributions that cells need, each once, by the hash of all that decides it."""
    return {content_key(workshop.key(one)): one for cell in cells for one in needs(cell)}


def left_of(workshop: Workshop, cell: Cell, failed: Mapping[str, str]) -> Left:
    """Return what of a cell can be measured.

    A control stands for each of its triggers by itself, so that it goes without those of an attack that
    cannot be made; a clean retrain is there for its triggers alone, and is nothing without any.

    Args:
        workshop: Knows the contributions' hashes.
        cell: The whole cell.
        failed: Why contributions could not be made, by hash.
    """
    if not failed:
        return Left(cell)
    made_from = needed(workshop, [replace(cell, triggers=())])
    if causes := [failed[key] for key in made_from if key in failed]:
        return Left(None, causes[0])
    missing = {
        name: failed[key] for name, one in cell.triggers if (key := content_key(workshop.key(one))) in failed
    }
    if not missing:
        return Left(cell)
    kept = tuple((name, one) for name, one in cell.triggers if name not in missing)
    if cell.kind == "clean retrain" and not kept:
        return Left(None, next(iter(missing.values())))
    causes = [f"without the trigger of {name}: {cause}" for name, cause in missing.items()]
    return Left(replace(cell, triggers=kept), "; ".join(causes))
