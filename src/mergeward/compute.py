"""Numeric settings that results must not depend on by accident."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from mergeward.errors import UnsupportedError, UsageError

DEFAULT_THREADS = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


_chosen: ContextVar[int | None] = ContextVar("mergeward_threads", default=None)


def thread_count() -> int:
    """Return how many threads numeric work uses: as `use_threads` says, `MERGEWARD_THREADS`, or two.

    Summation order inside matrix products depends on the number of threads, and with it the last bits of
    everything trained. The number is therefore a setting with a fixed default and not a property of the
    machine.

    Raises:
        UsageError: `MERGEWARD_THREADS` is not a positive whole number.
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    text = os.environ.get("MERGEWARD_THREADS", str(DEFAULT_THREADS))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"MERGEWARD_THREADS={text!r}: expected a positive whole number")
    return int(text)


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Let numeric work inside the block use a number of threads.

    Args:
        threads: How many, at least one; None leaves the number as it is.

    Raises:
        UsageError: It is below one.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads: expected a positive whole number, found {threads}")
    token = _chosen.set(_chosen.get() if threads is None else threads)
    try:
        yield
    finally:
        _chosen.reset(token)


def find_device(name: str) -> torch.device:
    """Return a device to compute on.

    Args:
        name: "cpu", "cuda", or "cuda:N" for the N-th CUDA device.

    Raises:
        UsageError: It is none of these.
        UnsupportedError: There is no such device here.
    """
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise UsageError(f"unknown device {name!r}; expected cpu, cuda or cuda:N")
    device = torch.device(name)
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= found:
        raise UnsupportedError(f"device {name!r}: torch finds {found} CUDA devices")
    return device


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


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed on `thread_count()` threads.

    Each call runs torch on one thread, so its bits do not depend on how many there are. Items are drawn as
    they are needed and few results wait, so memory does not grow with their number. When the consumer stops,
    calls not yet begun are dropped.

    Args:
        function: What to compute; calls overlap.
        items: What to compute it of.
    """
    threads = thread_count()
    own = torch.get_num_threads()
    _keep_freed_memory()
    pool = ThreadPoolExecutor(threads, "mergeward", initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # A library below torch keeps one number for all threads, and the workers have set it.
        torch.set_num_threads(own)


def _keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next part instead of returning it to the system.

    glibc returns free memory beyond twice the largest block it has seen freed, and each part would then have
    its pages zeroed anew. Freeing one block just below the bound on that size, never touched, is enough.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
