"""The curve over alpha."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

import mergeward as mw
from interruptions import stop_at
from mergeward.cli.app import run
from mergeward.errors import MergewardError, OutputError, RecipeError, UsageError
from mergeward.merge.adaptive import AdaptiveProblem
from mergeward.vision import Clip
from mergeward.workflow import Tradeoff


def recipe(pool: Any, **changed: Any) -> dict[str, Any]:
    whole = {
        "merge_method": "dam",
        "base_model": str(pool.base),
        "models": [
            {"model": str(pool.clean), "task": "warm"},
            {"model": str(pool.backdoored), "task": "cold"},
        ],
        "data": str(pool.data),
        "parameters": {"steps": 1, "coefficient_steps": 1, "batch_size": 4, "mask_lr": 0.5},
    }
    return {**whole, **changed}


def test_a_point_is_what_merge_and_evaluate_give(pool: Any, tmp_path: Path) -> None:
    found = mw.tradeoff(recipe(pool), [1.0], pool.backdoored, clean=pool.other, split="test")
    for model, measured in ((pool.backdoored, found.points[0].merge), (pool.other, found.points[0].control)):
        models = [{"model": str(pool.clean), "task": "warm"}, {"model": str(model), "task": "cold"}]
        parameters = {**recipe(pool)["parameters"], "alpha": 1.0}
        merged = mw.merge(
            recipe(pool, models=models, parameters=parameters, dtype="float32"), tmp_path / Path(model).name
        )
        seen = mw.evaluate(merged.out, ["warm", "cold"], trigger=pool.backdoored, data=pool.data)
        assert measured.accuracy == seen.accuracy
        assert measured.attack_success == seen.attack_success
    assert found.base.accuracy.keys() == {"warm", "cold"}


def test_what_cannot_be_drawn_is_refused_before_any_merge(pool: Any, tmp_path: Path) -> None:
    def refused(kind: type[Exception], match: str, alphas: list[float], **changed: Any) -> None:
        options = {key: changed.pop(key) for key in ("clean",) if key in changed}
        with pytest.raises(kind, match=match):
            mw.tradeoff(recipe(pool, **changed), alphas, pool.backdoored, **options)

    refused(UsageError, "has no alpha to vary", [1.0], merge_method="adamerging", parameters={})
    refused(UsageError, "expected different numbers", [0.1, 0.1])
    refused(UsageError, "expected different numbers", [])
    refused(RecipeError, "alpha", [-1.0])
    refused(UsageError, "alpha has a say in the learning of masks alone", [1.0], masks=str(pool.clean))
    only_warm = [{"model": str(pool.clean), "task": "warm"}]
    refused(UsageError, "the trigger is for task 'cold'", [1.0], models=only_warm)
    refused(UsageError, "none of the recipe's models", [1.0], models=only_warm, clean=pool.other)
    refused(UsageError, "one of the recipe's models already", [1.0], clean=pool.backdoored)
    refused(UsageError, "one of the recipe's models already", [1.0], clean=pool.clean)
    copied = tmp_path / "copied"
    shutil.copytree(pool.backdoored, copied)
    refused(UsageError, "carries a backdoor, and so is no clean control", [1.0], clean=copied)


def noted_merges(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Return the weights of every merge that is measured from here on."""
    merges: list[dict[str, Tensor]] = []
    encoder_with = Clip.encoder_with

    def noted(self: Clip, state: dict[str, Tensor]) -> torch.nn.Module:
        merges.append(state)
        return encoder_with(self, state)

    monkeypatch.setattr(Clip, "encoder_with", noted)
    return merges


def test_a_curve_interrupted_at_its_second_alpha_goes_on_to_the_same_bits(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: Path, **options: Any) -> dict[str, bytes]:
        asked = recipe(pool, parameters={**recipe(pool)["parameters"], "steps": 4, "base_lr": 0.02})
        mw.tradeoff(asked, [0.0, 1.0], pool.backdoored, clean=pool.other, split="test", out=out, **options)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    merges = noted_merges(monkeypatch)
    with monkeypatch.context() as patch:
        made = stop_at(patch, -1, KeyboardInterrupt)
        whole = run(tmp_path / "whole")
    passes, expected = len(made), merges[:]
    assert not torch.equal(*(next(iter(expected[number].values())) for number in (0, 2)))
    for share, at_work, done in ((0.6, "merge-1", 2), (0.9, "control-1", 3)):
        merges.clear()
        out, kept = tmp_path / f"out-{share}", tmp_path / f".out-{share}.interrupted"
        with monkeypatch.context() as patch:
            stop_at(patch, round(share * passes), KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                run(out, state_seconds=0)
        assert not out.exists()
        assert (kept / f"{at_work}.safetensors").exists()
        assert len(merges) == done
        with monkeypatch.context() as patch:
            made = stop_at(patch, -1, KeyboardInterrupt)
            assert run(out, resume=True) == whole
        assert len(made) <= (1 - share) * passes + 5
        for found, merge in zip(merges, expected, strict=True):
            assert all(torch.equal(found[name], tensor) for name, tensor in merge.items())
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "out-0.6", "out-0.9"}


def test_only_the_same_curve_goes_on(pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*alphas: float, **options: Any) -> Tradeoff:
        return mw.tradeoff(recipe(pool), alphas, pool.backdoored, out=tmp_path / "out", **options)

    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            run(0.0, 1.0)
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        run(0.0, 0.5, resume=True)
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        run(0.0, 1.0, resume=True, split="test")
    with pytest.raises(OutputError, match="left of a run with other inputs or settings"):
        run(0.0, 1.0, resume=True, clean=pool.other)


def test_an_error_leaves_nothing(pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 3, MergewardError)
    with pytest.raises(MergewardError):
        mw.tradeoff(recipe(pool), [1.0], pool.backdoored, out=tmp_path / "out", state_seconds=0)
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_where_the_merges_are_learnt(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.device] = []

    def on_processor(problem: AdaptiveProblem) -> None:
        """Note where a problem is to be computed, and let it be the processor after all."""
        seen.append(problem.device)
        object.__setattr__(problem, "device", torch.device("cpu"))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(AdaptiveProblem, "__post_init__", on_processor)
    mw.tradeoff(recipe(pool), [1.0], pool.backdoored, split="test", device="cuda")
    assert seen == [torch.device("cuda")]
    with pytest.raises(UsageError, match="--device cuda: surgery computes on the CPU only"):
        mw.tradeoff(recipe(pool, surgery={}), [1.0], pool.backdoored, device="cuda")


def test_the_command_writes_figures_and_picture(
    pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(pool)))
    arguments = ["tradeoff", str(tmp_path / "recipe.yaml"), "--trigger", str(pool.backdoored)]
    arguments += ["--split", "test"]
    assert run([*arguments, "--alpha", "0,1", "--out", str(tmp_path / "out"), "--json"]) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert printed == json.loads((tmp_path / "out" / "tradeoff.json").read_text())
    assert [point["alpha"] for point in printed["points"]] == [0, 1]
    assert printed["split"] == "test"
    assert "no control" in captured.err
    assert (tmp_path / "out" / "tradeoff.svg").exists()
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 7
    with monkeypatch.context() as patch:
        stop_at(patch, 2, KeyboardInterrupt)
        again = [*arguments, "--alpha", "0,1", "--out", str(tmp_path / "again"), "--state-seconds", "0"]
        assert run(again) == 130
    assert "the same command with --resume goes on from here" in capsys.readouterr().err
    assert run([*again, "--resume"]) == 0
    assert json.loads((tmp_path / "again" / "tradeoff.json").read_text()) == printed
    assert run([*arguments, "--out", str(tmp_path / "other"), "--alpha", "a,b"]) == 2
