"""A hardening that is stopped at any moment goes on to the same bytes, whatever the defense learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mergeward as mw
from interruptions import stop_at
from mergeward.checkpoint import open_checkpoint
from mergeward.defense import HardenProblem, defenses
from mergeward.errors import MergewardError, OutputError, UsageError
from mergeward.provenance import Provenance
from quick import QUICK_DEFENSES
from tiny_clip import save_tuned, tiny_task

LEARNING = [info.name for info in defenses() if info.any_device]


@pytest.fixture
def merged(tiny_clip: Path, tmp_path: Path) -> Path:
    return save_tuned(tiny_clip, tmp_path / "merged", seed=1)


@pytest.fixture
def run(tiny_clip: Path, merged: Path) -> Any:
    """Return what hardens the model."""

    def harden(defense: str, out: Path, **options: Any) -> dict[str, bytes]:
        parameters = {**QUICK_DEFENSES[defense], "steps": 4, **options.pop("parameters", {})}
        mw.harden(merged, tiny_clip, defense, [tiny_task()], out, parameters=parameters, **options)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    return harden


@pytest.mark.parametrize("defense", LEARNING)
def test_an_interrupted_hardening_goes_on_to_the_same_bytes(
    defense: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        made = stop_at(patch, -1, KeyboardInterrupt)
        whole = run(defense, tmp_path / "whole")
        passes = len(made)
    for share in (0.1, 0.6, 1):
        out, last = tmp_path / f"out-{share}", max(1, round(share * passes))
        with monkeypatch.context() as patch:
            stop_at(patch, last, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                run(defense, out, state_seconds=0)
        assert not out.exists()
        with monkeypatch.context() as patch:
            made = stop_at(patch, -1, KeyboardInterrupt)
            assert run(defense, out, resume=True) == whole
        assert len(made) <= passes - last + passes // 4
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_only_the_same_hardening_goes_on(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_at(patch, 9, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            run("awm", out, state_seconds=0)
    for changed in ({"seed": 1}, {"parameters": {"mask_lr": 0.2}}):
        with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
            run("awm", out, resume=True, **changed)
    run("awm", out, resume=True)


def test_an_error_leaves_nothing(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(tmp_path.iterdir())
    stop_at(monkeypatch, 9, MergewardError)
    with pytest.raises(MergewardError):
        run("anp", tmp_path / "out", state_seconds=0)
    assert set(tmp_path.iterdir()) == before


def test_a_device_is_where_it_computes(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []

    def on_processor(problem: HardenProblem) -> None:
        """Note where a problem is to be computed, and let it be the processor after all."""
        seen.append(problem.device)
        object.__setattr__(problem, "device", torch.device("cpu"))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(HardenProblem, "__post_init__", on_processor)
    run("awm", tmp_path / "out", device="cuda")
    assert seen[0] == torch.device("cuda")
    with open_checkpoint(tmp_path / "out") as checkpoint:
        record = Provenance.from_metadata(checkpoint.metadata)
    assert record is not None
    assert record.parameters["device"] == "cuda"
    with pytest.raises(UsageError, match="--device cuda: fine_pruning computes on the CPU only"):
        mw.harden(tmp_path, tmp_path, "fine_pruning", [tiny_task()], tmp_path / "other", device="cuda")
