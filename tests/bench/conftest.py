"""A suite of seven cells on the tiny CLIP, run once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colour_task import save_colour_task
from mergeward.bench.engine import InProcess
from mergeward.bench.run import Plan, RunSummary, plan_run, run_plan
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.suite import Suite, as_suite

SMALLEST: dict[str, Any] = {
    "name": "smallest",
    "title": "A suite",
    "summary": "One attack, one merge.",
    "tasks": ["warm", "cold"],
    "training": {"steps": 2, "batch_size": 6, "warmup_steps": 1},
    "attacker": {"task": 1, "training": {"learning_rate": 1e-3}},
    "attacks": ["badnets"],
    "methods": ["task_arithmetic"],
    "transfer": True,
}


@pytest.fixture
def smallest() -> Suite:
    return as_suite(SMALLEST)


@pytest.fixture(scope="session")
def suite_of() -> Callable[..., Suite]:
    """The smallest suite with other values."""
    return lambda **changes: as_suite({**SMALLEST, **changes})


@pytest.fixture(scope="session")
def colour_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the tasks of the suite."""
    folder = tmp_path_factory.mktemp("colours")
    for name in SMALLEST["tasks"]:
        save_colour_task(folder, name)
    return folder


@pytest.fixture
def planned(smallest: Suite, tiny_clip: Path, colour_data: Path) -> Callable[[], Plan]:
    """The plan of the smallest suite, made at each call."""
    return lambda: plan_run(smallest, tiny_clip, colour_data)


@pytest.fixture(scope="session")
def ran(tiny_clip: Path, colour_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """The smallest suite, run in one process: what every engine is compared with."""
    plan = plan_run(as_suite(SMALLEST), tiny_clip, colour_data)
    return run_plan(plan, tmp_path_factory.mktemp("runs") / "smallest.sqlite", engine=InProcess())


@pytest.fixture(scope="session")
def run_file(ran: RunSummary) -> RunFile:
    """What it wrote."""
    return read_run(ran.path)
