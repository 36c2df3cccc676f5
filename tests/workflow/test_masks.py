"""Learnt masks as files: written with a merge, looked at, and used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mergeward as mw
from mergeward.cli.app import run
from mergeward.errors import CheckpointError, RecipeError
from mergeward.merge.adaptive import session
from mergeward.provenance import Provenance
from mergeward.workflow import plan_merge
from mergeward.workflow.masks import MASKS, mask_layers, open_masks

MODELS = ("warm", "cold")


def recipe(pool: Any, **changed: Any) -> dict[str, Any]:
    whole = {
        "merge_method": "concrete_adamerging",
        "base_model": pool.base,
        "models": [{"model": pool.clean, "task": "warm"}, {"model": pool.other, "task": "cold"}],
        "data": pool.data,
        "parameters": {"steps": 2, "coefficient_steps": 1, "batch_size": 4, "mask_lr": 0.1},
    }
    return {**whole, **changed}


@pytest.fixture(scope="module")
def merged(pool: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mw.merge(recipe(pool), tmp_path_factory.mktemp("merged") / "out").out


def test_masks_and_record_lie_beside_the_weights(merged: Path) -> None:
    with open_masks(merged) as masks:
        assert Provenance.from_metadata(masks.metadata).method == "concrete_adamerging"
        layers = {one.layer: one for one in mask_layers(masks)}
    weights = load_file(merged / "model.safetensors")
    logits = load_file(merged / MASKS)
    assert all(logits[name].shape == weights[name.removeprefix("shared/")].shape for name in logits)
    record = json.loads((merged / "learnt.json").read_text())
    kept = logits["shared/visual_projection.weight"].sigmoid()
    assert record["masks"]["shared"]["visual_projection.weight"] == pytest.approx(float(kept.mean()))
    assert layers["visual_projection"].kept == pytest.approx(float(kept.double().mean()))
    assert layers["visual_projection"].favoured == float((kept > 0.5).double().mean())
    assert "## Masks" in (merged / "README.md").read_text()


SAVED = {
    "dam": {
        "mask_lr": 0.9,
        "base_lr": 0.9,
        "alpha": 0.9,
        "safe_loss": "entropy",
        "shared_loss": "total",
        "adv_lr": 0.9,
        "adv_bound": 0.9,
        "temperature": 0.9,
    },
    "concrete_task_arithmetic": {
        "steps": 5,
        "step_sizes": "cosine",
        "patience": 1,
        "gain": 0.9,
        "batch_size": 3,
        "micro_batch": 1,
        "mask_lr": 0.9,
        "temperature": 0.9,
    },
}
"""What has no effect beside saved masks, as other values than the defaults."""


@pytest.mark.parametrize("method", SAVED)
def test_what_saved_masks_leave_without_effect_is_said_in_the_plan(
    method: str, pool: Any, tmp_path: Path
) -> None:
    few = {"steps": 1, **({"coefficient_steps": 1} if method == "dam" else {}), "batch_size": 4}
    learnt = mw.merge(recipe(pool, merge_method=method, parameters=few), tmp_path / "learnt").out
    reused, asked = (
        recipe(pool, merge_method=method, parameters=given, masks=learnt)
        for given in (few, {**few, **SAVED[method]})
    )
    plan = plan_merge(asked, tmp_path / "out")
    assert {note.split(":")[0] for note in plan.notes} == {f"parameters.{key}" for key in SAVED[method]}
    first, second = (
        load_file(mw.merge(one, tmp_path / name).out / "model.safetensors")
        for name, one in (("reused", reused), ("asked", asked))
    )
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert plan_merge({**asked, "masks": None}, tmp_path / "out").notes == ()
    drawn = {**asked, "parameters": {"final_mask": "sample", "temperature": 0.9}}
    assert plan_merge(drawn, tmp_path / "out").notes == ()


@pytest.mark.parametrize("place", ["", MASKS])
def test_saved_masks_are_used_again_bit_by_bit(pool: Any, merged: Path, place: str, tmp_path: Path) -> None:
    again = mw.merge(recipe(pool, masks=merged / place), tmp_path / "again")
    assert set(again.record["loss"]) == {"coefficients"}
    assert load_file(again.out / MASKS).keys() == load_file(merged / MASKS).keys()
    first, second = (load_file(folder / "model.safetensors") for folder in (merged, again.out))
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    with open_masks(merged) as masks:
        assert again.inputs["masks"] == masks.digest()


def test_masks_that_do_not_fit_are_refused_before_any_work(pool: Any, merged: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], match: str, **changed: Any) -> None:
        with pytest.raises(kind, match=match):
            mw.merge(recipe(pool, **changed), tmp_path / "out")

    refused(RecipeError, "average has no masks", merge_method="average", parameters={}, masks=merged)
    refused(CheckpointError, "no such file", masks=pool.base)
    refused(CheckpointError, "no saved masks", masks=merged / "model.safetensors")
    logits = load_file(merged / MASKS)
    wrong = {
        "cut": {name: value for name, value in logits.items() if "projection" not in name},
        "shape": {**logits, "shared/visual_projection.weight": torch.zeros(2)},
        "name": {name.replace("shared/", "other/"): value for name, value in logits.items()},
        "nan": {**logits, "shared/visual_projection.weight": logits["shared/visual_projection.weight"] / 0},
    }
    words = {"cut": "lacks", "shape": r"shape \[2\]", "name": "expected shared", "nan": "NaN"}
    for name, tensors in wrong.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        refused(CheckpointError, words[name], masks=tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "out").exists()


def test_inspect_shows_and_draws_them(
    pool: Any, merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(merged), "--masks", str(tmp_path / "masks.png")]) == 0
    assert "favoured" in capsys.readouterr().out
    assert (tmp_path / "masks.png").stat().st_size > 0
    assert run(["inspect", str(pool.base), "--masks", str(tmp_path / "none.png")]) == 2
    assert "no learnt masks" in capsys.readouterr().err


def test_a_collapse_is_told_and_can_be_refused(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "collapses", lambda start, end: {"warm": "task 'warm' collapsed"})
    report = mw.merge(recipe(pool), tmp_path / "out")
    assert report.warnings == ("task 'warm' collapsed",)
    assert "## Collapse" in (report.out / "README.md").read_text()
    refusing = {**recipe(pool)["parameters"], "on_collapse": "refuse"}
    with pytest.raises(mw.MergewardError, match="nothing was merged"):
        mw.merge(recipe(pool, parameters=refusing), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
