"""Run one command and say what it cost: wall time, processor time, peak private memory. Linux only."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLING_SECONDS = 0.02
PRIVATE = ("RssAnon:", "RssShmem:")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Run:
    """What one command cost.

    Attributes:
        seconds: Wall time, from the start of the process to its end.
        cpu_seconds: User and system time of the process and of the children it waited for.
        peak_mb: Largest private memory seen, in units of 10^6 bytes; see `private_bytes`.
        failure: None, or why the run does not count, on one line.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    failure: str | None = None


@dataclass(frozen=True)
class Bounds:
    """When a command is stopped.

    Attributes:
        seconds: Longest wall time.
        megabytes: Largest private memory, in units of 10^6 bytes.
    """

    seconds: float
    megabytes: float


def run(command: Sequence[str], *, log: Path, bounds: Bounds, env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end and measure it.

    Args:
        command: Program and arguments.
        log: File for what it prints; written anew.
        bounds: When to stop it and everything that it started.
        env: Its environment; by default this process's.

    Returns:
        The costs. A command that fails or is stopped is reported and not raised.
    """
    with log.open("wb") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - the commands are this folder's own
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
        )
        watch = _Watch(process.pid, begin, bounds)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        watch.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    failure = watch.stopped_for or (_last_words(log, process.returncode) if process.returncode else None)
    return Run(seconds, usage.ru_utime + usage.ru_stime, watch.peak / MEGABYTE, failure)


def private_bytes(pid: int) -> int:
    """Return the private memory of a process and its descendants, in bytes.

    That is RssAnon + RssShmem of /proc/PID/status: what the processes themselves hold. Pages of files, mapped
    or cached, are not counted: the system can drop them at any time. A page that two processes of the tree
    share since a fork counts twice.
    """
    return sum(_private_of(process) for process in descendants(pid))


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it; those that have ended are left out."""
    yield pid
    try:
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for child in " ".join(lists).split():
        yield from descendants(int(child))


def available_mb() -> float:
    """Return the memory that can be had without swapping, in units of 10^6 bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise OSError("/proc/meminfo: no MemAvailable")


def _private_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(PRIVATE))


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"exit code {code}: {lines[-1][:200] if lines else 'said nothing'}"


class _Watch(threading.Thread):
    """Samples the memory of a process tree and stops the tree at its bounds."""

    def __init__(self, pid: int, begin: float, bounds: Bounds) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.stopped_for: str | None = None
        self._pid, self._begin, self._bounds = pid, begin, bounds
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self.peak = max(self.peak, private_bytes(self._pid))
            if self.peak > self._bounds.megabytes * MEGABYTE:
                self._kill(f"stopped: more than {self._bounds.megabytes / 1000:.1f} GB of memory")
            elif time.perf_counter() - self._begin > self._bounds.seconds:
                self._kill(f"stopped: more than {self._bounds.seconds:g} s")

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _kill(self, reason: str) -> None:
        self.stopped_for = reason
        self._done.set()
        os.killpg(self._pid, signal.SIGKILL)
