from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

from harness.measure import MEGABYTE, Bounds, Run, available_mb, private_bytes, run

WIDE = Bounds(seconds=60, megabytes=4000)
HOLD = "import time; block = bytearray(80_000_000); time.sleep(0.3)"


def measured(code: str, tmp_path: Path, bounds: Bounds = WIDE) -> Run:
    return run([sys.executable, "-c", code], log=tmp_path / "log", bounds=bounds)


def test_peak_is_what_the_process_holds(tmp_path: Path) -> None:
    done = measured(HOLD, tmp_path)
    assert done.failure is None
    assert 80 < done.peak_mb < 120
    assert done.seconds > 0.3


def test_children_count(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}], check=True)"
    assert 80 < measured(code, tmp_path).peak_mb < 140


def test_pages_of_files_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(60 * MEGABYTE))
    before = private_bytes(os.getpid())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert sum(view[offset] for offset in range(0, len(view), 4096)) > 0
        assert private_bytes(os.getpid()) - before < 10 * MEGABYTE


def test_processor_time_is_not_wall_time(tmp_path: Path) -> None:
    done = measured("import time; time.sleep(0.5)", tmp_path)
    assert done.cpu_seconds < done.seconds - 0.3


def test_a_failure_is_told_by_its_last_line(tmp_path: Path) -> None:
    assert measured("raise SystemExit('too bad')", tmp_path).failure == "exit code 1: too bad"
    assert measured("raise SystemExit(3)", tmp_path).failure == "exit code 3: said nothing"


def test_a_command_is_stopped_at_its_bounds(tmp_path: Path) -> None:
    late = measured("import time; time.sleep(60)", tmp_path, Bounds(0.2, 4000))
    assert late.failure == "stopped: more than 0.2 s"
    large = measured(HOLD.replace("0.3", "60"), tmp_path, Bounds(60, 50))
    assert large.failure == "stopped: more than 0.1 GB of memory"
    assert late.seconds < 30
    assert large.seconds < 30


def test_available_memory_is_plausible() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MEGABYTE
    assert 0 < available_mb() <= total


def test_processes_that_have_ended_hold_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert private_bytes(child.pid) == 0
