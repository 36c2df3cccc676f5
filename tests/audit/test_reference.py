"""Comparing scores with those of clean pools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeward as mw
from attacked_pool import Attacked
from mergeward.audit import Evidence, Reference, StageResult, Verdict, make_reference, read_reference
from mergeward.audit.reference import Setting
from mergeward.cli.app import run
from mergeward.errors import DataError, RecipeError, UsageError

SETTING = Setting(
    "ab", "ties", {"shared": {"weight": 0.3}, "own": [["digits", "{}"]]}, "auto", "quick", ("digits",)
)
HIGHEST = [float(score) for score in range(1, 40)]


def reference(**highest: list[float]) -> Reference:
    return Reference(SETTING, highest or {"stage": HIGHEST}, {})


def judged(score: float | None, one: Reference) -> Evidence:
    before = {"a": Evidence("stage", Verdict.INCONCLUSIVE, "words", score=score)}
    return one.calibrated([StageResult(before)])[0].evidence["a"]


@pytest.mark.parametrize(
    ("score", "p_value"), [(0.0, 1.0), (1.0, 1.0), (1.5, 39 / 40), (39.0, 2 / 40), (39.5, 1 / 40)]
)
def test_a_p_value_is_the_share_of_pools_with_as_high_a_score(score: float, p_value: float) -> None:
    assert reference().p_value("stage", score) == pytest.approx(p_value)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (39.5, Verdict.SUSPECT),
        (39.0, Verdict.SUSPECT),
        (38.0, Verdict.INCONCLUSIVE),
        (33.5, Verdict.INCONCLUSIVE),
        (32.5, Verdict.PASS),
        (0.0, Verdict.PASS),
    ],
)
def test_a_verdict_follows_from_the_p_value(score: float, verdict: Verdict) -> None:
    assert judged(score, reference()).verdict is verdict


@pytest.mark.parametrize("pools", [1, 4, 18])
def test_few_pools_clear_nobody_however_low_the_score(pools: int) -> None:
    few = reference(stage=HIGHEST[:pools])
    assert judged(0.0, few).verdict is Verdict.INCONCLUSIVE
    assert judged(1e9, few).verdict is Verdict.INCONCLUSIVE
    assert judged(0.0, reference(stage=HIGHEST[:19])).verdict is Verdict.PASS


def test_a_stage_that_clears_nobody_still_suspects() -> None:
    def found(score: float) -> Verdict:
        evidence = {"a": Evidence("stage", Verdict.INCONCLUSIVE, "words", score=score)}
        return reference().calibrated([StageResult(evidence, clears=False)])[0].evidence["a"].verdict

    assert found(0.0) is Verdict.INCONCLUSIVE
    assert found(1e9) is Verdict.SUSPECT


def test_few_pools_make_no_suspect_however_high_the_score() -> None:
    one = judged(1e9, reference(stage=HIGHEST[:18]))
    assert one.verdict is Verdict.INCONCLUSIVE
    assert one.p_value == pytest.approx(1 / 19)


def test_what_does_not_compare_is_left_as_it_is() -> None:
    assert judged(None, reference()).verdict is Verdict.INCONCLUSIVE
    assert judged(5.0, reference(other=HIGHEST)).p_value is None


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference().to_json()))
    assert read_reference(path) == Reference(SETTING, {"stage": tuple(HIGHEST)}, {})


def damaged(**changed: Any) -> str:
    return json.dumps({**reference().to_json(), **changed})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        damaged(format=1),
        damaged(setting={}),
        damaged(highest={"stage": []}),
        damaged(highest={"stage": [None]}),
        damaged(highest=[1]),
        damaged().replace("1.0", "NaN"),
        damaged().replace("1.0", "9" * 400),
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"reference\.json"):
        read_reference(path)
    with pytest.raises(DataError, match="No such file"):
        read_reference(tmp_path / "nowhere.json")


def test_a_reference_for_another_setting_is_refused() -> None:
    others = {
        "base": "cd",
        "method": "dare",
        "parameters": {"shared": {"weight": 1}, "own": [["digits", "{}"]]},
        "scope": "all",
        "budget": "deep",
        "tasks": (),
    }
    for key, value in others.items():
        with pytest.raises(UsageError, match=f"for {key}"):
            reference().check(Setting(**{**SETTING.__dict__, key: value}))


def test_a_reference_made_for_a_recipe_judges_it(attacked: Attacked, tmp_path: Path) -> None:
    training = mw.FinetuneConfig(steps=2, batch_size=4, warmup_steps=1)
    recipe = attacked.recipe(clean=True)
    made = make_reference(recipe, budget="quick", pools=4, variants=2, training=training)
    assert {stage: len(scores) for stage, scores in made.highest.items()} == {"statistics": 4}
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(made.to_json()))
    report = mw.audit(recipe, budget="quick", reference=path)
    assert all(one.p_value is not None for one in report.contributions)
    with pytest.raises(UsageError, match="for budget 'quick'"):
        mw.audit(recipe, reference=made)
    with pytest.raises(UsageError, match="for parameters"):
        mw.audit({**recipe, "parameters": {"weight": 0.9}}, budget="quick", reference=made)


def test_a_reference_needs_tasks_and_enough_variants(attacked: Attacked) -> None:
    models = [{"model": str(model)} for model in attacked.clean.values()]
    with pytest.raises(RecipeError, match=r"models\[0\]\.task: missing"):
        make_reference(attacked.recipe(models=models))
    twice = [{"model": str(model), "task": "warm"} for model in attacked.clean.values()]
    with pytest.raises(UsageError, match="variants 2"):
        make_reference(attacked.recipe(models=twice), variants=2)


def test_the_command_writes_a_reference_and_replaces_none(attacked: Attacked, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "reference.json"
    recipe.write_text(json.dumps(attacked.recipe(clean=True)))
    few = ["--budget", "quick", "--pools", "2", "--variants", "2", "--steps", "2", "--batch-size", "4"]
    assert run(["reference", str(recipe), str(out), *few]) == 0
    assert len(read_reference(out).highest["statistics"]) == 2
    assert run(["reference", str(recipe), str(out), *few]) == 7
