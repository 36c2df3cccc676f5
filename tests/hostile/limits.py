"""What the refusal of a bad file may cost: measured, not estimated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 1.0
MEGABYTES = 200


@contextmanager
def within_limits() -> Iterator[None]:
    """Fail if the block takes more than a second of computing, or 200 MB beyond what was held before."""
    held = _peak(reset=True)
    start = time.process_time()
    yield
    seconds, memory = time.process_time() - start, (_peak() - held) / 1e6
    assert seconds < SECONDS, f"{seconds:.2f} s to refuse it"
    assert memory < MEGABYTES, f"{memory:.0f} MB to refuse it"


def _peak(*, reset: bool = False) -> int:
    """Return the most memory the process ever held in bytes, or since the last reset; 0 where nobody says."""
    if not Path("/proc/self/clear_refs").exists():
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
