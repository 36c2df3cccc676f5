"""An adaptive merge that is stopped at any moment goes on to the same bytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeward as mw
from interruptions import stop_at
from mergeward.checkpoint import open_checkpoint
from mergeward.checkpoint.state import read_state, write_state
from mergeward.errors import MergewardError, OutputError
from mergeward.workflow.learning import STATE
from test_processes import launched

SLOW = Path(__file__).with_name("slow_learning.py")
QUICK = {
    "dam": {"steps": 4, "coefficient_steps": 3, "batch_size": 4, "mask_lr": 0.05, "base_lr": 0.02},
    "adamerging": {"steps": 6, "batch_size": 4, "lr": 0.02, "step_sizes": "cosine"},
}
PASSES = {"dam": 4 * 5 + 3, "adamerging": 6}
"""How often a whole run goes over a batch."""


def recipe(pool: Any, method: str, **parameters: Any) -> dict[str, Any]:
    return {
        "merge_method": method,
        "base_model": str(pool.base),
        "models": [
            {"model": str(pool.clean), "task": "warm"},
            {"model": str(pool.other), "task": "cold"},
        ],
        "data": str(pool.data),
        "parameters": {**QUICK[method], **parameters},
    }


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def scratch(out: Path) -> Path:
    return out.with_name(f".{out.name}.interrupted")


@pytest.fixture(scope="module", params=list(QUICK))
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(pool: Any, method: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Any]:
    """What a run that nobody stops writes and records."""
    report = mw.merge(recipe(pool, method), tmp_path_factory.mktemp(method) / "out")
    return content(report.out), report.record


@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 1])
def test_an_interrupted_merge_goes_on_to_the_same_bytes(
    share: float, method: str, pool: Any, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, last = tmp_path / "out", max(1, round(share * PASSES[method]))
    with monkeypatch.context() as patch:
        stop_at(patch, last, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            mw.merge(recipe(pool, method), out, state_seconds=0)
    assert not out.exists()
    with monkeypatch.context() as patch:
        made = stop_at(patch, -1, KeyboardInterrupt)
        report = mw.merge(recipe(pool, method), out, resume=True)
    assert (content(report.out), report.record) == whole
    assert len(made) <= PASSES[method] - last + 5
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_merge_that_was_interrupted_twice_and_never_kept_a_state_is_the_same(
    method: str, pool: Any, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for seconds, last in ((0, 4), (1000, 2)):
        with monkeypatch.context() as patch:
            stop_at(patch, last, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                mw.merge(recipe(pool, method), out, resume=True, state_seconds=seconds)
    assert content(mw.merge(recipe(pool, method), out, resume=True).out) == whole[0]


def test_a_killed_merge_goes_on_to_the_same_bytes(method: str, pool: Any, whole: Any, tmp_path: Path) -> None:
    out, path = tmp_path / "out", tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe(pool, method)))
    command = [sys.executable, str(SLOW), "merge", str(path), str(out), "--resume", "--state-seconds", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (scratch(out) / STATE).exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(random.Random(method).uniform(0, 0.1))
    process.kill()
    process.communicate(timeout=60)
    assert not out.exists()
    kept = read_state(scratch(out) / STATE)
    assert kept is not None
    assert sum(map(len, kept[1]["totals"].values())) >= 1
    assert content(mw.merge(recipe(pool, method), out, resume=True).out) == whole[0]


def test_only_the_same_learning_goes_on(pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_at(patch, 3, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            mw.merge(recipe(pool, "adamerging"), out, state_seconds=0)
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        mw.merge(recipe(pool, "adamerging", lr=0.03), out, resume=True)
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        mw.merge(recipe(pool, "adamerging"), out, resume=True, threads=3)
    (scratch(out) / STATE).write_bytes(b"\x08")
    with pytest.raises(OutputError, match="damaged"):
        mw.merge(recipe(pool, "adamerging"), out, resume=True)


def test_an_error_leaves_nothing(pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 3, MergewardError)
    with pytest.raises(MergewardError):
        mw.merge(recipe(pool, "adamerging"), tmp_path / "out", state_seconds=0)
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_the_last_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    assert read_state(path) is None
    first = {"a.b": torch.arange(3), "c": torch.tensor(2.5, dtype=torch.float64)}
    write_state(path, first, {"losses": [0.1, 1e-300]})
    monkeypatch.setattr(
        "mergeward.checkpoint.state.os.fsync", lambda _: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        write_state(path, {"a.b": torch.zeros(3)}, {})
    found = read_state(path)
    assert found is not None
    assert found[1] == {"losses": [0.1, 1e-300]}
    assert all(torch.equal(found[0][name], tensor) for name, tensor in first.items())


def test_two_processes_write_one_output(pool: Any, tmp_path: Path) -> None:
    path, out = tmp_path / "recipe.json", tmp_path / "out"
    path.write_text(json.dumps(recipe(pool, "dam")))
    for done in launched([sys.executable, "-m", "mergeward", "merge", str(path), str(out)], 2):
        assert done.returncode == 0, done.stderr
    alone = mw.merge(recipe(pool, "dam"), tmp_path / "alone").out
    assert {file.name for file in out.iterdir()} == {file.name for file in alone.iterdir()}
    with open_checkpoint(out) as together, open_checkpoint(alone) as single:
        for name in single.tensors:
            torch.testing.assert_close(together.read(name), single.read(name), rtol=1e-3, atol=1e-4)
