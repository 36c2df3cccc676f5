"""Logging a run to MLflow, in a database of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mergeward.bench.store import RunFile, read_run
from mergeward.bench.tracking import log_run
from mergeward.errors import OutputError, UnsupportedError

# Of what MLflow itself does with its database.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def mlflow() -> Any:
    return pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")


def logged(mlflow: Any, uri: str, experiment: str) -> list[Any]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name(experiment)
    return list(client.search_runs([place.experiment_id]))


@pytest.mark.slow
def test_every_cell_is_a_run_with_its_figures(mlflow: Any, run_file: RunFile, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert log_run(run_file, uri) == 7
    runs = {run.data.tags["mergeward.cell"]: run for run in logged(mlflow, uri, "smallest")}
    assert set(runs) == {row.cell for row in run_file.cells}
    for row in run_file.cells:
        run = runs[row.cell]
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == "0"
        assert run.data.metrics["accuracy"] == row.accuracy
        for one in run_file.rates[row.cell]:
            if one.measure == "success":
                key = f"success/{one.attack}/{one.task}"
                low, high = one.rate.interval
                named = (run.data.metrics[name] for name in (key, f"{key}/low", f"{key}/high"))
                assert tuple(named) == (one.rate.value, low, high)


@pytest.mark.slow
def test_what_is_there_is_not_logged_again(mlflow: Any, run_file: RunFile, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    half = RunFile(run_file.path, run_file.about, run_file.cells[:3], run_file.rates)
    assert log_run(half, uri, "mine") == 3
    assert log_run(run_file, uri, "mine") == 4
    assert log_run(run_file, uri, "mine") == 0
    assert len(logged(mlflow, uri, "mine")) == 7


def test_a_place_that_cannot_be_used_is_one_line(mlflow: Any, run_file: RunFile) -> None:
    with pytest.raises(OutputError, match="MLflow nowhere://x: ") as caught:
        log_run(run_file, "nowhere://x")
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_says_which_to_install(
    run_file: RunFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'mergeward\[mlflow\]'"):
        log_run(read_run(run_file.path))
