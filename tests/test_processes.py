"""Several processes learn what one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mergeward as mw
from mergeward import processes
from mergeward.bench.demo import run_demo
from mergeward.bench.run import run_plan
from mergeward.errors import UsageError
from mergeward.testbed.pretrain import pretrain

WORKER = Path(__file__).parent / "merge" / "adaptive" / "one_of_several.py"
UNOPENED: Any = None
"""What nobody looks at."""
STATIC = {
    "merge_method": "ties",
    "base_model": "embedded",
    "models": [{"model": "digits", "task": "digits"}, {"model": "shapes", "task": "shapes"}],
}


def launched(command: list[str], count: int) -> list[subprocess.CompletedProcess[str]]:
    """Run a command in so many processes, as `torchrun` does, to their end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    return [
        subprocess.CompletedProcess(command, one.wait(), *one.communicate(timeout=120)) for one in started
    ]


@pytest.mark.parametrize("text", ["", "two", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(UsageError, match=r"WORLD_SIZE=.*: expected a positive whole number"):
        processes.check_alone("bench run")


def test_one_process_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes.joined(torch.device("cpu")):
        assert (processes.process_count(), processes.process_number()) == (1, 0)
        values = torch.ones(2)
        assert processes.add_up(values) is values
        assert values.tolist() == [1, 1]
        assert processes.from_first("here") == "here"
        processes.wait_for_all()
    with pytest.raises(ValueError, match="no value"):
        processes.from_first(None)


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert processes.own_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [processes.own_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:1", "cpu"]


@pytest.mark.parametrize(
    ("work", "named"),
    [
        (lambda out: mw.harden(out, out, "awm", ["digits"], out), "harden"),
        (lambda out: mw.tradeoff(out, [0.1], out, out=out), "tradeoff"),
        (lambda out: mw.finetune("embedded", "digits", out), "finetune"),
        (lambda out: mw.attack("badnets", "embedded", "digits", 0, out), "attack"),
        (lambda out: mw.merge(STATIC, out), "merge: ties"),
        (lambda out: mw.merge({**STATIC, "surgery": {}}, out), "merge: ties"),
        (lambda out: pretrain([], out), "pretrain"),
        (lambda out: run_plan(UNOPENED, out), "bench run"),
        (lambda out: run_demo(out, ["digits", "shapes"]), "demo"),
    ],
    ids=str,
)
def test_what_each_process_would_do_whole_is_refused_at_once(
    work: Callable[[Path], object], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=rf"^{named}: 2 processes were launched \(WORLD_SIZE\)"):
        work(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    for count, file in enumerate(files, 1):
        for done in launched([sys.executable, str(WORKER), str(file)], count):
            assert done.returncode == 0, done.stderr
    one, two = (torch.load(file) for file in files)
    assert bool(one["task_shared"].any())
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-8, atol=1e-10, msg=name)
