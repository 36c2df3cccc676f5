"""Whether a model says of itself that it carries a backdoor: in a header, or on the card beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from mergeward.provenance import CARD, CARD_MARK, is_marked

MAX_CARD_BYTES = 1 << 20


class Described(Protocol):
    """A model on disk: a checkpoint, an adapter, a pickle."""

    @property
    def path(self) -> Path:
        """Its folder, or its file."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """The free-text entries of its header."""
        ...


def carries_mark(model: Described) -> bool:
    """Whether a model says that it carries a backdoor.

    Programs that read weights and write them again drop the header's entries, and leave the card: so the card
    counts as well.
    """
    return is_marked(model.metadata) or CARD_MARK in _card(model.path)


def _card(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    try:
        with (folder / CARD).open("rb") as file:
            return file.read(MAX_CARD_BYTES).decode(errors="replace")
    except OSError:
        return ""
