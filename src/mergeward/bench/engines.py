"""Which engine a run uses."""

from __future__ import annotations

from mergeward.bench.cluster import RayCluster
from mergeward.bench.engine import Engine, local_engine
from mergeward.errors import UsageError, unknown_name

ENGINES = ("local", "ray")


def choose_engine(name: str, *, workers: int | None = None, address: str | None = None) -> Engine:
    """Return an engine by its name.

    Args:
        name: "local" for the processes of this machine, "ray" for a Ray cluster.
        workers: How many processes; by default as many as have cores for their threads. Of "local" only.
        address: Where the cluster is; see `RayCluster`. Of "ray" only.

    Raises:
        UnsupportedError: The extra `ray` is not installed.
        UsageError: There is no such engine, or an option is another's.
    """
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if name == "local":
        if address is not None:
            raise UsageError("--address is of --engine ray")
        return local_engine(workers)
    if workers is not None:
        raise UsageError("--workers is of --engine local; a Ray cluster has its own")
    return RayCluster(address)
