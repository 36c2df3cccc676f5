"""Where cells are computed: in this process, or in several of this machine."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeAlias

from mergeward.bench.grid import Cell
from mergeward.bench.measure import Outcome, run_cell
from mergeward.bench.models import Contribution
from mergeward.bench.rows import hardware
from mergeward.bench.workshop import Workshop
from mergeward.compute import thread_count
from mergeward.errors import MergewardError, OutputError, UsageError
from mergeward.shared import shared_store


@dataclass(frozen=True)
class Site:
    """Where base, tasks and artefacts are.

    Attributes:
        base: Folder of the base.
        data: Folder of task files; None for the embedded tasks.
        store: URL of a store that several machines share; None for this machine's alone.
    """

    base: Path
    data: Path | None = None
    store: str | None = None


Job: TypeAlias = Contribution | Cell
"""A contribution to make, or a cell to measure."""


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Attributes:
        index: Which job.
        outcome: What was measured; None for a contribution, and where the job failed.
        cause: Why it failed, on one line; None where it did not.
        seconds: Wall time.
        hardware: What it was computed on, in words.
    """

    index: int
    outcome: Outcome | None
    cause: str | None
    seconds: float
    hardware: str = field(default_factory=hardware)


@lru_cache(maxsize=1)
def workshop_at(site: Site) -> Workshop:
    """Return this process's workshop for a place."""
    return Workshop(site.base, site.data, None if site.store is None else shared_store(site.store))


class Engine(Protocol):
    """Runs jobs, in any order."""

    def run(self, site: Site, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the result of every job as it comes, until all are done.

        Raises:
            OutputError: The store cannot be written.
        """


class InProcess:
    """Runs jobs one after the other, in this process."""

    def run(self, site: Site, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the results in the order of the jobs."""
        for index, job in enumerate(jobs):
            yield perform(site, index, job)


@dataclass(frozen=True)
class Processes:
    """Runs jobs in several processes of this machine.

    A job whose process dies is tried once more by itself; if that dies too, the job has failed.

    Attributes:
        workers: How many processes.
    """

    workers: int

    def run(self, site: Site, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the results as they come."""
        queue = deque(enumerate(jobs))
        while queue:
            for index, job in (yield from self._until_one_dies(site, queue)):
                yield _alone(site, index, job)

    def _until_one_dies(
        self, site: Site, queue: deque[tuple[int, Job]]
    ) -> Generator[Result, None, list[tuple[int, Job]]]:
        """Yield results until the queue is empty or a process dies; return the jobs that ran then."""
        running: dict[Future[Result], tuple[int, Job]] = {}
        with _pool(self.workers) as pool:
            while queue or running:
                while queue and len(running) < self.workers:
                    index, job = queue.popleft()
                    try:
                        running[pool.submit(perform, site, index, job)] = (index, job)
                    except BrokenProcessPool:
                        queue.appendleft((index, job))
                        return list(running.values())
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        return list(running.values())
                    del running[future]
                    yield result
        return []


def local_engine(workers: int | None = None) -> Engine:
    """Return what runs jobs on this machine.

    Args:
        workers: How many processes; by default as many as have cores for their threads.

    Raises:
        UsageError: It is below one.
    """
    if workers is None:
        workers = max(1, _cores() // thread_count())
    if workers < 1:
        raise UsageError(f"--workers {workers}: expected a positive whole number")
    return InProcess() if workers == 1 else Processes(workers)


def _cores() -> int:
    """Return how many cores this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def perform(site: Site, index: int, job: Job) -> Result:
    """Do one job, in whichever process this is; a failure becomes a result with its cause.

    Raises:
        OutputError: The store cannot be written; no other job could do better.
    """
    started = time.perf_counter()
    outcome, cause = None, None
    try:
        outcome = _do(workshop_at(site), job)
    except OutputError:
        raise
    except MergewardError as error:
        cause = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cells must go on
        cause = " ".join(f"{type(error).__name__}: {error}".split())
    return Result(index, outcome, cause, time.perf_counter() - started)


def _do(workshop: Workshop, job: Job) -> Outcome | None:
    if isinstance(job, Cell):
        return run_cell(workshop, job)
    workshop.folder(job)
    return None


def _alone(site: Site, index: int, job: Job) -> Result:
    started = time.perf_counter()
    with _pool(1) as pool:
        try:
            return pool.submit(perform, site, index, job).result()
        except BrokenProcessPool:
            cause = "its process died; perhaps it ran out of memory"
            return Result(index, None, cause, time.perf_counter() - started)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)


def end_with_parent() -> None:
    """Let this process end when the one that started it has ended, however: killed, that one tells nobody."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
