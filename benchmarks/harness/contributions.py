"""Contributions that are there already, known by what their files say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeward.attack import attack_info
from mergeward.checkpoint import open_checkpoint
from mergeward.errors import CheckpointError
from mergeward.provenance import Provenance

CLEAN = "finetune"
PARTNER = "-partner"
"""What the folder of an attack's second contribution ends with."""


@dataclass(frozen=True)
class Made:
    """One contribution.

    Attributes:
        path: Its folder.
        task: Name of the task that it was trained on.
        method: The attack that made it, or "finetune".
        seed: Seed of its training.
        learning_rate: Of its training.
        target_task: Name of the task that its trigger attacks; None for a clean one.
        own_images: Whether an off-task attack was made with the attacker's own images.
        partner: The second contribution of the attack, if it makes two.
    """

    path: Path
    task: str
    method: str
    seed: int
    learning_rate: float
    target_task: str | None = None
    own_images: bool = False
    partner: Path | None = None

    @property
    def attacks(self) -> bool:
        """Whether it carries a backdoor."""
        return self.method != CLEAN

    @property
    def label(self) -> str:
        """The attack's name, and whether it attacks another task."""
        if self.target_task in {None, self.task}:
            return self.method
        return f"{self.method} off-task{', own images' if self.own_images else ''}"


def find(folders: Iterable[Path], base: str) -> list[Made]:
    """Return the contributions to a base below some folders, sorted; of equals the newest.

    Attacks with other parameters than their defaults are left out: sweeps over them leave many.

    Args:
        folders: Where to look, at any depth.
        base: Digest of the base.
    """
    found: dict[tuple[str, str, str, int, float], Made] = {}
    for path in sorted(_weights(folders), key=lambda path: (path.stat().st_mtime_ns, path)):
        one = _made(path.parent, base)
        if one is not None:
            found[one.label, one.task, str(one.target_task), one.seed, one.learning_rate] = one
    return [found[key] for key in sorted(found)]


def tasks(made: Sequence[Made]) -> list[str]:
    """Return the names of the tasks that clean contributions were trained on, sorted."""
    return sorted({one.task for one in made if not one.attacks})


def _weights(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from folder.rglob("model.safetensors")


def _by_default(record: Provenance) -> bool:
    """Whether an attack had its default parameters, but for whose images it used."""
    if record.method == CLEAN:
        return True
    defaults = attack_info(record.method).parameters().model_dump(mode="json", exclude={"own_images"})
    return all(record.parameters.get(name, value) == value for name, value in defaults.items())


def _made(folder: Path, base: str) -> Made | None:
    """Return the contribution in a folder, or None where there is none to this base."""
    try:
        with open_checkpoint(folder) as opened:
            record = Provenance.from_metadata(opened.metadata)
    except CheckpointError:
        return None
    if record is None or record.kind != "contribution" or record.task is None:
        return None
    if record.inputs.get("base") != base or folder.name.endswith(PARTNER) or not _by_default(record):
        return None
    partner = folder.with_name(folder.name + PARTNER)
    return Made(
        folder,
        record.task,
        record.method,
        record.seed,
        float(str(record.parameters["learning_rate"])),
        None if record.trigger is None else str(record.trigger.get("target_task", record.task)),
        bool(record.parameters.get("own_images", False)),
        partner if partner.is_dir() else None,
    )
