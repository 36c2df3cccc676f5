"""What a piece of work cost: seconds, and the most memory that was in use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "cost.json"

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """What a piece of work cost.

    Attributes:
        seconds: Wall time.
        peak_bytes: The most physical memory that the process had while it ran, what it had before included;
            None where the system does not tell (it does on Linux).
    """

    seconds: float
    peak_bytes: int | None

    def write(self, folder: Path) -> None:
        """Write it to a folder, for `read_cost`."""
        (folder / FILE).write_text(json.dumps(asdict(self)))


def costed(work: Callable[[], None]) -> Cost:
    """Do a piece of work and return what it cost."""
    _forget_peak()
    started = time.perf_counter()
    work()
    return Cost(round(time.perf_counter() - started, 3), _peak())


def read_cost(folder: Path) -> Cost:
    """Read what `Cost.write` wrote."""
    return Cost(**json.loads((folder / FILE).read_text()))


def _forget_peak() -> None:
    with suppress(OSError):  # then the peak is that of the process's whole life
        _RESET.write_text("5")


def _peak() -> int | None:
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
