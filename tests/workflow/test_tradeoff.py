"""The curve over alpha."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import mergeward as mw
from mergeward.cli.app import run
from mergeward.errors import RecipeError, UsageError


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


def test_what_cannot_be_drawn_is_refused_before_any_merge(pool: Any) -> None:
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


def test_the_command_writes_figures_and_picture(
    pool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert run([*arguments, "--out", str(tmp_path / "other"), "--alpha", "a,b"]) == 2
