"""A merge that is stopped at any moment leaves nothing, or the whole, and can go on to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mergeward as mw
from mergeward.checkpoint import open_checkpoint
from mergeward.checkpoint.weights import JOURNAL
from mergeward.checkpoint.writer import Output
from mergeward.errors import OutputError
from toy_models import save_folder

SLOW = Path(__file__).with_name("slow_merge.py")
TENSORS = 40
KILLS = 3
LONGEST = 0.3
"""Seconds from the first write of a run to about its last."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two contributions of 21 MB each, with a recipe."""
    folder = tmp_path_factory.mktemp("models")
    generator = torch.Generator().manual_seed(0)
    names = [f"layers.{index:02}.weight" for index in range(TENSORS)]
    for model in ("base", "one", "two"):
        state = {name: torch.randn(512, 256, generator=generator) for name in names}
        save_folder(folder / model, state)
    (folder / "recipe.yaml").write_text(
        "{merge_method: task_arithmetic, base_model: base, models: [{model: one}, {model: two}]}"
    )
    return folder


@pytest.fixture(scope="module")
def whole(models: Path) -> dict[str, bytes]:
    """The output of a run that nobody stops."""
    return content(mw.merge(models / "recipe.yaml", models / "whole", shard_bytes=8_000_000).out)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(models: Path, out: Path, *options: str, pace: float = 0.002) -> subprocess.Popen[str]:
    """Begin a merge that takes `pace` seconds a tensor."""
    command = [
        sys.executable,
        str(SLOW),
        "merge",
        str(models / "recipe.yaml"),
        str(out),
        "--shard-size",
        "8MB",
    ]
    env = {**os.environ, "SECONDS_A_PIECE": str(pace)}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *options], env=env, stderr=pipe, stdout=pipe, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def scratch(out: Path) -> Path:
    return out.with_name(f".{out.name}.interrupted")


def resumed(models: Path, out: Path) -> dict[str, bytes]:
    return content(mw.merge(models / "recipe.yaml", out, resume=True, shard_bytes=8_000_000).out)


def test_ctrl_c_says_how_to_go_on_and_the_bytes_are_the_same(
    models: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    process = start(models, out, pace=0.1)  # however late the signal comes, it is not done
    wait_for((scratch(out) / JOURNAL).exists)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "error: interrupted; the same command with --resume goes on from here\n"
    finished = {json.loads(line) for line in (scratch(out) / JOURNAL).read_text().splitlines()}
    assert finished
    merged = []
    with monkeypatch.context() as patch:
        watch(patch, merged)
        assert resumed(models, out) == whole
    assert finished.isdisjoint(merged)
    assert set(merged) | finished == {f"layers.{index:02}.weight" for index in range(TENSORS)}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def watch(patch: pytest.MonkeyPatch, merged: list[str]) -> None:
    """Note the tensors that are written."""
    write = Output.write
    patch.setattr(Output, "write", lambda self, piece: (merged.append(piece.name), write(self, piece)))


def test_a_killed_merge_leaves_nothing_or_all_and_goes_on_to_the_same_bytes(
    models: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    moments = random.Random(0)
    for _ in range(KILLS):
        before = begun(out)
        process = start(models, out, "--resume")
        wait_for(lambda before=before: begun(out) != before)
        time.sleep(moments.uniform(0, LONGEST))
        process.kill()
        process.communicate(timeout=60)
        if out.exists():
            assert content(out) == whole
            shutil.rmtree(out)
    assert resumed(models, out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def begun(out: Path) -> int:
    """When the card was written, which is the first thing that every run writes."""
    card = scratch(out) / "README.md"
    return card.stat().st_mtime_ns if card.exists() else 0


def test_one_process_at_a_time_writes_an_output(
    models: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(models, out)
    wait_for((scratch(out) / JOURNAL).exists)
    with pytest.raises(OutputError, match="another process is writing it"):
        resumed(models, out)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert content(out) == whole


def test_only_the_same_merge_goes_on(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    process = start(models, out)
    wait_for((scratch(out) / JOURNAL).exists)
    process.kill()
    process.communicate(timeout=60)
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": models / "base",
        "models": [{"model": models / "one"}, {"model": models / "two"}],
        "parameters": {"weight": 0.4},
    }
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        mw.merge(recipe, out, resume=True, shard_bytes=8_000_000)
    assert (scratch(out) / JOURNAL).exists()
    mw.merge(recipe, out, shard_bytes=8_000_000)
    with open_checkpoint(out) as merged, open_checkpoint(models / "base") as base:
        assert merged.tensors.keys() == base.tensors.keys()
