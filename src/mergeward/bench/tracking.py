"""Logs a run to MLflow: one run there for each cell that was measured, in an experiment of the suite's name.

The file of a run stays what is read; this is a copy for those who keep all their figures in MLflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mergeward.bench.measure import Measured
from mergeward.bench.rows import CellRow
from mergeward.bench.store import RunFile
from mergeward.errors import OutputError, missing_extra

CELL = "mergeward.cell"
"""The tag that tells which cell a run there is of, and what that lacks."""

_COSTS = (
    "seconds",
    "attack_seconds",
    "merge_seconds",
    "defense_seconds",
    "attack_peak_bytes",
    "merge_peak_bytes",
    "defense_peak_bytes",
)


def log_run(run: RunFile, uri: str | None = None, experiment: str | None = None) -> int:
    """Log the cells of a run that are not there yet; failed ones are left out.

    Args:
        run: From `read_run`.
        uri: Where to: a server ("http://..."), or a database ("sqlite:///mlflow.db"); by default as MLflow
            is set up (`MLFLOW_TRACKING_URI`).
        experiment: Name of the experiment; by default the suite's.

    Returns:
        How many cells were logged.

    Raises:
        OutputError: The server or database cannot be used.
        UnsupportedError: The extra `mlflow` is not installed.
    """
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise missing_extra("runs in MLflow", "mlflow") from error
    name = experiment or str(run.about["suite"]["name"])
    try:
        client = MlflowClient(tracking_uri=uri)
        place = _experiment(client, name)
        there = _logged(client, place)
        new = [row for row in run.done if _tag(row) not in there]
        for row in new:
            _log(client, place, row, run.rates[row.cell])
    except Exception as error:  # a server, a database and the network have errors of their own
        reason = " ".join(str(error).split())[:300]
        raise OutputError(f"MLflow {uri or 'as it is set up'}: {reason}") from error
    return len(new)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    identifier: str = client.create_experiment(name) if found is None else found.experiment_id
    return identifier


def _logged(client: Any, experiment: str) -> set[str]:
    """Return the cells that an experiment has whole."""
    cells, token = set[str](), None
    while True:
        page = client.search_runs([experiment], "attributes.status = 'FINISHED'", page_token=token)
        cells.update(run.data.tags.get(CELL, "") for run in page)
        token = page.token
        if not token:
            return cells


def _log(client: Any, experiment: str, row: CellRow, rates: tuple[Measured, ...]) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - an extra

    finished = int(datetime.fromisoformat(row.finished).timestamp() * 1000)
    started = finished - int(1000 * (row.seconds or 0))
    tags = {CELL: _tag(row), "versions": row.versions, "hardware": row.hardware}
    created = client.create_run(experiment, start_time=started, tags=tags, run_name=row.label)
    client.log_batch(
        created.info.run_id,
        metrics=[Metric(key, value, finished, 0) for key, value in _metrics(row, rates)],
        params=[Param(key, str(value)) for key, value in _parameters(row).items()],
    )
    client.set_terminated(created.info.run_id, end_time=finished)


def _tag(row: CellRow) -> str:
    """Tell a cell that lacks a trigger from the whole one, which is logged when there is one."""
    return row.cell if row.error is None else f"{row.cell} {row.error}"


def _parameters(row: CellRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "attack": row.attack,
        "method": row.method,
        "defense": row.defense,
        "seed": row.seed,
        "tasks": ", ".join(row.tasks),
        **row.axes,
    }


def _metrics(row: CellRow, rates: tuple[Measured, ...]) -> Iterator[tuple[str, float]]:
    """Yield what was measured: means, rates between 0 and 1 with their intervals, seconds and bytes."""
    for name in ("accuracy", "success", *_COSTS):
        if (value := getattr(row, name)) is not None:
            yield name, value
    for one in rates:
        names = dict.fromkeys((one.measure, one.attack, one.target_task, one.task))
        key = _allowed("/".join(filter(None, names)))
        yield key, one.rate.value
        yield f"{key}/low", one.rate.interval[0]
        yield f"{key}/high", one.rate.interval[1]


def _allowed(key: str) -> str:
    """Return a key with what MLflow does not allow in one replaced."""
    return re.sub(r"[^\w\-. /]", "_", key)
