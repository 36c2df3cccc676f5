"""Runs jobs on a Ray cluster.

Ray ends the process that drives a cluster when the cluster goes away. A process of its own therefore talks to
Ray, and hands the results over one by one; when it dies, the run stops with a message and keeps what it has.

A worker makes sure that a job is to it what it is here (base, images, code, versions, threads) before it
starts: otherwise figures of two programs would stand in one table.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from mergeward.bench.engine import Job, Result, Site, end_with_parent, perform, workshop_at
from mergeward.bench.grid import Cell
from mergeward.bench.measure import cell_key
from mergeward.bench.workshop import Workshop
from mergeward.cache import content_key
from mergeward.compute import thread_count, use_threads
from mergeward.errors import MergewardError, OutputError, UsageError, missing_extra

TRIES = 3
"""How often a job is begun whose workers die."""

PATIENCE = 60.0
"""Seconds that a cluster may be without a machine that jobs fit on."""

GRACE = 10.0
"""Seconds that the process which talks to Ray has to end."""

GONE = "the cluster went away"

Message: TypeAlias = Result | MergewardError | None
"""A result, or why there are no more; None when all are done."""


@dataclass(frozen=True)
class Order:
    """A job as it goes to a worker.

    Attributes:
        index: Which job.
        job: The job.
        key: What it hashes to here.
        site: Where base, tasks and artefacts are, on every machine.
        threads: How many threads it computes on.
    """

    index: int
    job: Job
    key: str
    site: Site
    threads: int


@dataclass(frozen=True)
class RayCluster:
    """Runs jobs on the machines of a Ray cluster, as many at a time as have cores for their threads.

    Base and data must lie at the same paths on every machine. A job whose worker dies is begun again on
    another, twice at most.

    Attributes:
        address: The cluster's address, as Ray has it ("HOST:6379", "auto", "ray://HOST:10001"). None stands
            for `RAY_ADDRESS`, or for a cluster of this machine alone that ends with the run.
    """

    address: str | None = None

    def __post_init__(self) -> None:
        if find_spec("ray") is None:
            raise missing_extra("Ray clusters", "ray")

    def run(self, site: Site, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the results as they come.

        Raises:
            OutputError: The cluster cannot be reached or goes away, or a worker cannot write its store.
            UsageError: A worker has another base, other images, or another version; or no machine has
                enough cores.
        """
        if not jobs:
            return
        with _driver(self.address, _orders(site, jobs)) as messages:
            while (message := _receive(messages, self.address)) is not None:
                if isinstance(message, MergewardError):
                    raise message
                yield message


def _orders(site: Site, jobs: Sequence[Job]) -> list[Order]:
    workshop = workshop_at(site)
    there = replace(site, base=site.base.absolute(), data=None if site.data is None else site.data.absolute())
    return [Order(index, job, _key(workshop, job), there, thread_count()) for index, job in enumerate(jobs)]


def _key(workshop: Workshop, job: Job) -> str:
    return cell_key(workshop, job) if isinstance(job, Cell) else content_key(workshop.key(job))


@contextmanager
def _driver(address: str | None, orders: Sequence[Order]) -> Iterator[Connection]:
    """Start the process that talks to Ray, and end it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_drive, args=(theirs, address, orders), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.terminate()
        process.join(GRACE)
        process.kill()
        process.join()
        process.close()
        ours.close()


def _receive(messages: Connection, address: str | None) -> Message:
    try:
        message: Message = messages.recv()
    except EOFError:
        return _failure(address, GONE)
    return message


def _drive(messages: Connection, address: str | None, orders: Sequence[Order]) -> None:
    """Talk to Ray; the process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process
    end_with_parent()
    import ray  # noqa: PLC0415 - an extra

    with suppress(BrokenPipeError):  # the run was killed: there is nobody to tell
        drive(ray, address, orders, messages.send)


def drive(ray: Any, address: str | None, orders: Sequence[Order], send: Callable[[Message], None]) -> None:
    """Have Ray do jobs, and send every result as it comes.

    Args:
        ray: The package.
        address: See `RayCluster`.
        orders: The jobs.
        send: Called with each result; at the end with None, or with what went wrong.
    """
    last: Message = None
    try:
        ray.init(address=address, logging_level=logging.ERROR)
        for result in _results(ray, orders):
            send(result)
    except MergewardError as error:
        last = error
    except Exception as error:  # noqa: BLE001 - Ray has many, and each means the same
        last = _failure(address, _one_line(error))
    if last is None:
        ray.shutdown()  # which may take a minute where the cluster is gone
    send(last)


def _failure(address: str | None, reason: str) -> OutputError:
    name = address or "of this machine"
    return OutputError(f"Ray cluster {name}: {reason}; what was measured is kept, --resume goes on")


def _results(ray: Any, orders: Sequence[Order]) -> Iterator[Result]:
    waiting = {_submit(ray, order): order for order in orders}
    room = _Room(ray, max((order.threads for order in orders), default=1))
    while waiting:
        room.check()
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=PATIENCE / 10)
        for reference in done:
            yield _received(ray, reference, waiting.pop(reference))


def _submit(ray: Any, order: Order) -> Any:
    options = {"num_cpus": order.threads, "max_retries": TRIES - 1}
    return ray.remote(perform_there).options(**options).remote(order)


def _received(ray: Any, reference: Any, order: Order) -> Result:
    try:
        result: Result | MergewardError = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the job itself raises nothing
        raise UsageError(f"Ray cluster: a worker cannot run jobs: {_one_line(error.cause)}") from error
    except ray.exceptions.LocalRayletDiedError as error:
        raise ConnectionError(GONE) from error
    except ray.exceptions.RayError as error:
        cause = f"its worker died {TRIES} times: {_one_line(error)}"
        return Result(order.index, None, cause, 0.0)
    if isinstance(result, MergewardError):
        raise result
    return result


class _Room:
    """Whether the cluster has a machine that a job fits on."""

    def __init__(self, ray: Any, threads: int) -> None:
        self._ray = ray
        self._threads = threads
        self._seen = time.monotonic()

    def check(self) -> None:
        """Raise `UsageError` when there has been none for a while; one may be starting."""
        alive = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        if any(resources.get("CPU", 0) >= self._threads for resources in alive):
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise UsageError(
                f"Ray cluster: for {PATIENCE:.0f} s no machine with as many cores as MERGEWARD_THREADS "
                f"({self._threads}); what was measured is kept, --resume goes on"
            )


def perform_there(order: Order) -> Result | MergewardError:
    """Do one job on a worker; return what must stop the run instead of raising it."""
    try:
        with use_threads(order.threads):
            _check_same(order)
            return perform(order.site, order.index, order.job)
    except MergewardError as error:
        return type(error)(f"worker {socket.gethostname()}: {error}")


def _check_same(order: Order) -> None:
    if _key(workshop_at(order.site), order.job) != order.key:
        raise UsageError("its base, images, code or versions differ from those here; see docs/bench.md")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
