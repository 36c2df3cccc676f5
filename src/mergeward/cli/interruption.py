"""What is said of a command that was interrupted and can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeward.checkpoint import interrupted
from mergeward.errors import InterruptionError


@contextmanager
def can_go_on(out: Path) -> Iterator[None]:
    """Say how to go on where an interruption leaves something to go on from.

    Args:
        out: The folder that is made inside the block.

    Raises:
        InterruptionError: It was interrupted, and can go on.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if interrupted(out):
            raise InterruptionError(
                "interrupted; the same command with --resume goes on from here"
            ) from error
        raise
