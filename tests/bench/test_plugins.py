"""A suite of plug-ins: its cells, its rows, its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mergeward.bench.engine import InProcess
from mergeward.bench.run import narrowed, plan_run, run_plan
from mergeward.bench.store import read_run
from mergeward.bench.suite import Suite
from mergeward.report import write_run_page
from plugin_packages import documented

MIDRANGE, STRIPE, REWIND = (documented(kind) for kind in ("method", "attack", "defense"))
PACKAGES = ["mergeward-stripe 1.1", "mergeward-midrange 1.0", "mergeward-rewind 1.2"]


@pytest.fixture
def suite(suite_of: Callable[..., Suite]) -> Suite:
    return suite_of(
        attacks=[{"attack": "stripe", "parameters": {"height": 4}}],
        methods=["task_arithmetic", "midrange"],
        defenses=["none", "rewind"],
    )


def test_a_suite_runs_them_and_the_page_shows_them(
    install: Callable[..., None], suite: Suite, tiny_clip: Path, colour_data: Path, tmp_path: Path
) -> None:
    install(MIDRANGE, STRIPE, REWIND)
    only = {"method": ["midrange"], "defense": ["rewind"]}
    plan = plan_run(narrowed(suite, only), tiny_clip, colour_data)
    done = run_plan(plan, tmp_path / "run.sqlite", engine=InProcess())
    assert done.failed == ()
    run = read_run(done.path)
    rows = {row.kind: row for row in run.cells}
    assert rows["attacked merge"].versions.split(", ")[-3:] == PACKAGES
    assert not any(package in rows["fine-tuned"].versions for package in PACKAGES)
    write_run_page([run], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in ("stripe", "midrange", "rewind", *PACKAGES):
        assert text in page


def test_another_version_makes_its_cells_anew_and_no_others(
    install: Callable[..., None], suite: Suite, tiny_clip: Path, colour_data: Path
) -> None:
    install(MIDRANGE, STRIPE, REWIND)
    before = plan_run(suite, tiny_clip, colour_data).cells
    assert before == plan_run(suite, tiny_clip, colour_data).cells
    install(replace(MIDRANGE, version="2.0"))
    after = plan_run(suite, tiny_clip, colour_data).cells
    assert {before[key].method for key in before.keys() - after.keys()} == {"midrange"}
    assert {after[key].method for key in after.keys() & before.keys()} == {"none", "task_arithmetic"}
