"""Pictures of the triggers of a run, kept in its file so that a report needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from mergeward.bench.grid import Cell
from mergeward.bench.models import Contribution
from mergeward.bench.workshop import Workshop


@dataclass(frozen=True)
class TriggerPicture:
    """What one trigger looks like.

    Attributes:
        attack: Which trigger, by `trigger_id`.
        seed: Of the contribution that it was taken from.
        target_task: Name of the task that it aims at.
        target_class: Name of the class that it asks for.
        kind: Patch, blend, warp, ...
        pattern: The trigger alone, a PNG.
        example: A test image of the attacked task with it, a PNG.
    """

    attack: str
    seed: int
    target_task: str
    target_class: str
    kind: str
    pattern: bytes
    example: bytes


def gallery(workshop: Workshop, cells: Iterable[Cell]) -> Iterator[TriggerPicture]:
    """Yield a picture of each attacker's trigger, from the first of the cells that has one.

    Nothing is made for it: a trigger whose contribution is not on this machine is left out.
    """
    seen: set[tuple[str, str]] = set()
    for cell in cells:
        for name, contribution in cell.triggers:
            attacker = name, _target_task(contribution)
            if attacker not in seen and workshop.is_made(contribution):
                seen.add(attacker)
                yield _picture(workshop, name, contribution)


def _target_task(contribution: Contribution) -> str:
    return contribution.backdoor.target_task if contribution.backdoor else contribution.task


def _picture(workshop: Workshop, name: str, contribution: Contribution) -> TriggerPicture:
    saved = workshop.trigger(contribution)
    image = workshop.prepared(_target_task(contribution), contribution.seed).pixels("test")[:1].float() / 255
    return TriggerPicture(
        name,
        contribution.seed,
        saved.task,
        saved.target_class,
        saved.trigger.kind,
        _png(saved.trigger.picture()),
        _png(saved.trigger.apply(image)[0]),
    )


def _png(pixels: Tensor) -> bytes:
    """Return `[3, H, W]` in [0, 1] as a PNG."""
    file = io.BytesIO()
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    Image.fromarray(levels.numpy()).save(file, format="PNG")
    return file.getvalue()
