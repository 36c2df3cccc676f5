"""Saying on the screen that a model carries a backdoor."""

from __future__ import annotations

from pathlib import Path

from mergeward.checkpoint import carries_mark, open_checkpoint
from mergeward.cli.terminal import warn

SUITE_WARNING = "this makes backdoored models, for measuring defenses only; their metadata says so"


def tell_of_mark(model: Path) -> None:
    """Warn if a model that was written says of itself that it carries a backdoor."""
    with open_checkpoint(model) as opened:
        marked = carries_mark(opened)
    if marked:
        warn(f"{model} says of itself that it carries a backdoor, as what it was made of does")
