"""Numeric settings that results must not depend on by accident."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mergeward.errors import UsageError

DEFAULT_THREADS = 2


def thread_count() -> int:
    """Return the number of threads that numeric work uses: `MERGEWARD_THREADS`, or two.

    Summation order inside matrix products depends on the number of threads, and with it the last bits of
    everything trained. The number is therefore a setting with a fixed default and not a property of the
    machine.

    Raises:
        UsageError: `MERGEWARD_THREADS` is not a positive whole number.
    """
    text = os.environ.get("MERGEWARD_THREADS", str(DEFAULT_THREADS))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"MERGEWARD_THREADS={text!r}: expected a positive whole number")
    return int(text)


@contextmanager
def fixed_threads(threads: int | None = None) -> Iterator[None]:
    """Run a block on a fixed number of threads, so that its bits do not depend on the machine's.

    Args:
        threads: How many; by default `thread_count()`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count() if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
