"""The Ray engine with Ray itself: a cluster of two machines with a cache each, one of which is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_runs import figures
from mergeward.bench.cluster import RayCluster
from mergeward.bench.run import RunSummary, Step, plan_run, run_plan
from mergeward.bench.store import RunFile, read_run
from mergeward.bench.suite import Suite
from mergeward.compute import thread_count
from mergeward.errors import OutputError

pytest.importorskip("ray", reason="the extra 'ray' is not installed")

from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Cluster]:
    """A head that computes nothing, to which machines can be added."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def add_machine(cluster: Cluster, cache: Path) -> Any:
    return cluster.add_node(num_cpus=thread_count(), env_vars={"MERGEWARD_CACHE": str(cache)})


def test_a_run_survives_the_loss_of_a_machine_bit_for_bit(
    run_file: RunFile,
    machines: Cluster,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    empty_cache: Path,
) -> None:
    lost = add_machine(machines, tmp_path / "cache-1")
    add_machine(machines, tmp_path / "cache-2")

    def lose(step: Step) -> None:
        if step.number == 1:
            machines.remove_node(lost, allow_graceful=False)

    plan = plan_run(smallest, tiny_clip, colour_data, str(tmp_path / "shared"))
    assert (plan.cached, plan.missing) == (0, 4)
    done = run_plan(plan, tmp_path / "run.sqlite", engine=RayCluster(machines.address), report=lose)
    assert (done.measured, done.failed) == (7, ())
    assert figures(read_run(done.path)) == figures(run_file)
    assert (tmp_path / "cache-1" / "contribution").is_dir()
    assert (tmp_path / "cache-2" / "contribution").is_dir()
    assert not (empty_cache / "contribution").exists()  # nothing was made here


def test_a_cluster_that_goes_away_costs_nothing_that_was_measured(
    ran: RunSummary,
    run_file: RunFile,
    machines: Cluster,
    smallest: Suite,
    tiny_clip: Path,
    colour_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # a minute otherwise
    add_machine(machines, tmp_path / "cache")

    def lose(step: Step) -> None:
        if step.number == 1:
            machines.shutdown()

    plan, path = plan_run(smallest, tiny_clip, colour_data), tmp_path / "run.sqlite"
    with pytest.raises(OutputError, match="went away; what was measured is kept"):
        run_plan(plan, path, engine=RayCluster(machines.address), report=lose)
    kept = len(read_run(path).cells)
    assert kept >= 1
    assert {row.status for row in read_run(path).cells} == {"done"}
    done = run_plan(plan, path, resume=True)
    assert (done.measured, done.kept) == (7 - kept, kept)
    assert figures(read_run(path)) == figures(run_file)
