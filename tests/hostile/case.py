"""What a bad file is: how it is made, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Make = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """One bad file.

    Attributes:
        make: Writes it into a folder and returns what to open.
        message: Pattern of the one line that refuses it; it starts with the name of the file.
        on_read: Whether it can be told only when its tensors are read.
        opener: What it would be opened with: as a checkpoint, as a file of torch.save, or as an adapter.
    """

    make: Make
    message: str
    on_read: bool = False
    opener: Literal["checkpoint", "legacy", "adapter"] = "checkpoint"


def raw(content: bytes, name: str) -> Make:
    """A single file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make
