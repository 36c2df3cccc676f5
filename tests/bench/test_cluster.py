"""The Ray engine, against a stand-in for Ray; with Ray itself: `test_ray`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_ray.ray import Ray
from mergeward.bench import cluster
from mergeward.bench.cluster import Message, RayCluster, drive
from mergeward.bench.engine import InProcess, Result, Site
from mergeward.bench.engines import choose_engine
from mergeward.bench.run import Plan, RunSummary, plan_run, run_plan
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.suite import Suite
from mergeward.compute import thread_count
from mergeward.errors import MergewardError, OutputError, UnsupportedError, UsageError

FAKE = Path(__file__).parent.parent / "fake_ray"


@pytest.fixture
def plan(ran: RunSummary, smallest: Suite, tiny_clip: Path, colour_data: Path) -> Plan:
    """A suite whose artefacts are there."""
    return plan_run(smallest, tiny_clip, colour_data)


def driven(
    plan: Plan, address: str | None = None, change: Callable[[Any], Any] = lambda one: one
) -> list[Message]:
    """What driving a stand-in for a cluster sends."""
    sent: list[Message] = []
    orders = [change(order) for order in cluster._orders(plan.site, list(plan.cells.values()))]
    drive(Ray(), address, orders, sent.append)
    return sent


class Stand:
    """An engine that drives a stand-in in this process."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address

    def run(self, site: Site, jobs: Any) -> Iterator[Result]:
        sent: list[Message] = []
        drive(Ray(), self.address, cluster._orders(site, jobs), sent.append)
        for message in sent:
            if isinstance(message, MergewardError):
                raise message
            if message is not None:
                yield message


def figures(run: RunFile) -> list[object]:
    return [(row.cell, row.status, row.accuracy, row.success, run.rates.get(row.cell)) for row in run.cells]


def test_it_finds_what_one_process_finds(plan: Plan, run_file: RunFile, tmp_path: Path) -> None:
    done = run_plan(plan, tmp_path / "run.sqlite", engine=Stand())
    assert figures(read_run(done.path)) == figures(run_file)


def test_a_job_has_as_many_cores_as_threads_and_is_begun_again(plan: Plan) -> None:
    ray = Ray()
    drive(ray, None, cluster._orders(plan.site, list(plan.cells.values())), lambda _: None)
    assert ray.options == [{"num_cpus": thread_count(), "max_retries": 2}] * 7
    assert not ray.is_up


def test_a_job_whose_workers_always_die_fails_and_stops_no_other(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    done = run_plan(plan, path, engine=Stand("loses"))
    assert {row.error for row in done.failed} == {"its worker died 3 times: worker crashed"}
    assert len(done.failed) == 7
    assert run_plan(plan, path, resume=True, engine=InProcess()).measured == 7


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unreachable", "Ray cluster unreachable: no cluster there; what was measured is kept"),
        ("leaves", "Ray cluster leaves: the cluster went away; what was measured is kept"),
        ("breaks", "a worker cannot run jobs: No module named 'mergeward'"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(plan: Plan, address: str, words: str) -> None:
    (message,) = driven(plan, address)
    assert isinstance(message, MergewardError)
    assert words in str(message)
    assert "\n" not in str(message)


def test_a_cluster_without_a_machine_is_waited_for_in_vain(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    (message,) = driven(plan, "empty")
    assert isinstance(message, UsageError)
    assert "no machine with as many cores as MERGEWARD_THREADS" in str(message)


def test_a_worker_that_would_measure_something_else_stops_the_run(plan: Plan) -> None:
    (message,) = driven(plan, change=lambda order: replace(order, key="of another version"))
    assert isinstance(message, UsageError)
    assert str(message).startswith("worker ")
    assert "its base, images, code or versions differ" in str(message)


def test_a_worker_without_the_images_is_named(plan: Plan, tmp_path: Path) -> None:
    elsewhere = replace(plan.site, data=tmp_path / "not-here")
    (message,) = driven(plan, change=lambda order: replace(order, site=elsewhere))
    assert isinstance(message, MergewardError)
    assert str(message).startswith("worker ")


def test_a_worker_whose_disk_is_full_stops_the_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("cache folder /x: No space left on device")

    monkeypatch.setattr("mergeward.bench.engine.run_cell", full)
    (message,) = driven(plan)
    assert isinstance(message, OutputError)
    assert "worker " in str(message)
    assert "cache folder /x: No space left on device" in str(message)


@pytest.mark.slow
def test_a_cluster_that_goes_away_costs_nothing_that_was_measured(
    plan: Plan, run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FAKE)
    path = tmp_path / "run.sqlite"
    with pytest.raises(OutputError, match="Ray cluster dies: the cluster went away; what was"):
        run_plan(plan, path, engine=RayCluster("dies"))
    assert [row.status for row in read_run(path).cells] == ["done"]
    done = run_plan(plan, path, resume=True, engine=RayCluster())
    assert (done.measured, done.kept) == (6, 1)
    assert figures(read_run(path)) == figures(run_file)


def test_engines_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FAKE)
    assert choose_engine("ray", address="auto") == RayCluster("auto")
    assert isinstance(choose_engine("local", workers=1), InProcess)
    for options, words in (
        ({"name": "rya"}, "did you mean 'ray'"),
        ({"name": "local", "address": "auto"}, "--address is of --engine ray"),
        ({"name": "ray", "workers": 2}, "--workers is of --engine local"),
    ):
        with pytest.raises(UsageError, match=words):
            choose_engine(**options)  # type: ignore[arg-type]


def test_without_the_extra_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'mergeward\[ray\]'"):
        choose_engine("ray")
