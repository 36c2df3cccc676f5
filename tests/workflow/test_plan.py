"""The plan of a merge: what it says comes true, and nothing is read to find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mergeward as mw
from mergeward.checkpoint import Checkpoint, open_checkpoint, resolve_scope
from mergeward.errors import CheckpointError, OutputError, RecipeError, UnsupportedError, UsageError
from mergeward.merge.registry import methods
from mergeward.workflow import plan_merge
from quick import QUICK


def recipe(pool: Any, name: str, **changed: Any) -> dict[str, Any]:
    models = [{"model": pool.clean, "task": "warm"}, {"model": pool.other, "task": "cold"}]
    whole = {"merge_method": name, "base_model": pool.base, "models": models, "data": pool.data}
    return {**whole, "parameters": QUICK.get(name, {}), **changed}


@pytest.mark.parametrize("info", methods(), ids=lambda info: info.name)
def test_no_tensor_is_read(pool: Any, info: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Checkpoint, *_: str) -> None:
        raise AssertionError("read")

    for reading in ("view", "digest", "sha256"):
        monkeypatch.setattr(Checkpoint, reading, refuse)
    paths = [pool.clean, pool.other, pool.backdoored][: max(2, info.min_contributions)]
    models = [{"model": path, "task": "warm"} for path in paths]
    plan = plan_merge(recipe(pool, info.name, models=models), tmp_path / "out")
    assert (plan.method, plan.summary) == (info.name, info.summary)
    assert plan.settings["models"].keys() == plan.contributions.keys() == {path.name for path in paths}
    assert plan.memory_bytes > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard_bytes", [5_000, 5_000_000_000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_files_are_as_large_as_it_says(pool: Any, tmp_path: Path, dtype: str, shard_bytes: int) -> None:
    given = recipe(pool, "task_arithmetic", dtype=dtype)
    plan = plan_merge(given, tmp_path / "out", shard_bytes=shard_bytes)
    out = mw.merge(given, tmp_path / "out", shard_bytes=shard_bytes).out
    assert plan.files == {path.name: path.stat().st_size for path in out.glob("*.safetensors")}


def test_what_is_read_and_how_often(pool: Any, tmp_path: Path) -> None:
    average, ties = (plan_merge(recipe(pool, name), tmp_path / "out") for name in ("average", "ties"))
    assert average.passes == "merges in one pass"
    assert ties.passes.startswith("gathers figures of whole models first")
    assert average.read_bytes == ties.read_bytes
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (pool.base, pool.clean, pool.other)]
    assert sizes[0] < average.read_bytes < sum(sizes)
    assert average.merged_tensors > 0
    assert average.copied_tensors > 0


def test_what_learning_holds_in_memory(pool: Any, tmp_path: Path) -> None:
    def held(name: str, **parameters: Any) -> float:
        plan = plan_merge(recipe(pool, name, parameters=parameters), tmp_path / "out")
        with open_checkpoint(pool.base) as base:
            sizes = {key: info.numel for key, info in base.tensors.items()}
        values = sum(sizes[key] for key in resolve_scope("vision", open_checkpoint(pool.base)))
        return plan.memory_bytes / values

    assert held("adamerging") == 4 * (2 + 3)
    assert held("adamerging", task_vectors="int8") == 2 + 4 * 3
    assert held("dam") == 4 * (2 + 3 + 7)
    assert held("dam", variant="released") == 4 * (2 + 3 + 3.5)


def test_a_backdoor_and_what_has_no_effect_are_said(pool: Any, tmp_path: Path) -> None:
    models = [{"model": pool.base}, {"model": pool.backdoored}]
    given = recipe(
        pool, "task_arithmetic", models=models, parameters={"int8_mask": True}, tokenizer_source="base"
    )
    plan = plan_merge(given, tmp_path / "out")
    assert list(plan.contributions) == ["poisoned"]
    assert [warning.split()[0] for warning in plan.warnings] == ["poisoned"]
    assert [note.split(":")[0] for note in plan.notes] == ["tokenizer_source", "parameters.int8_mask"]


def test_it_refuses_what_the_merge_refuses(pool: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="density"):
        plan_merge(recipe(pool, "ties", parameters={"density": [0.5, 2]}), out)
    with pytest.raises(RecipeError, match="negative weight"):
        plan_merge(recipe(pool, "ties", parameters={"normalize": True, "weight": -1}), out)
    with pytest.raises(CheckpointError, match="nowhere"):
        plan_merge(recipe(pool, "ties", models=[{"model": tmp_path / "nowhere"}]), out)
    for changed, match in (
        ({"scope": "all"}, "scope: 'all' takes in tensors of .* beyond the image encoder"),
        ({"models": [{"model": pool.clean, "task": "wram"}]}, "'wram'.*did you mean 'warm'"),
    ):
        for learner in (recipe(pool, "dam"), recipe(pool, "average", surgery={})):
            with pytest.raises((UnsupportedError, UsageError), match=match):
                plan_merge({**learner, **changed}, out)
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        plan_merge(recipe(pool, "ties"), out, device="tpu")
    out.mkdir()
    (out / "mine").write_text("kept")
    with pytest.raises(OutputError, match="exists and is not empty"):
        plan_merge(recipe(pool, "ties"), out)
