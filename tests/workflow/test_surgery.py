"""Surgery on top of a merge, from recipe to evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mergeward as mw
from mergeward.checkpoint import open_checkpoint
from mergeward.errors import MergewardError, RecipeError, UnsupportedError
from mergeward.evaluate import accuracy, predict
from mergeward.provenance import Provenance
from mergeward.vision import SURGERY, load_clip
from mergeward.workflow import PreparedTask, open_base, open_task
from quick import QUICK

STEPS = {"steps": 3, "rank": 2, "lr": 0.5}


def recipe(pool: Any, name: str = "average", **changed: Any) -> dict[str, Any]:
    models = [{"model": pool.clean, "task": "warm"}, {"model": pool.other, "task": "cold"}]
    whole = {"merge_method": name, "base_model": pool.base, "models": models, "data": pool.data}
    return {**whole, "parameters": QUICK[name], "surgery": STEPS, **changed}


@pytest.fixture(scope="module")
def operated(pool: Any, tmp_path_factory: pytest.TempPathFactory) -> mw.MergeReport:
    return mw.merge(recipe(pool), tmp_path_factory.mktemp("surgery") / "out")


def record(path: Path) -> Provenance:
    with open_checkpoint(path) as checkpoint:
        found = Provenance.from_metadata(checkpoint.metadata)
    assert found is not None
    return found


def test_the_weights_are_those_of_the_merge_and_the_modules_lie_beside(
    pool: Any, operated: mw.MergeReport, tmp_path: Path
) -> None:
    alone = mw.merge(recipe(pool, surgery=None), tmp_path / "alone").out
    assert not (alone / SURGERY).exists()
    merged, expected = (load_file(folder / "model.safetensors") for folder in (operated.out, alone))
    assert all(torch.equal(merged[name], value) for name, value in expected.items())
    assert set(load_clip(operated.out).repairs) == set(operated.record["surgery"]) == {"warm", "cold"}
    assert load_clip(alone).repairs == {}


def test_provenance_and_card_name_the_file(operated: mw.MergeReport) -> None:
    found = record(operated.out)
    assert found.method == "average"
    assert found.parameters["surgery"] == {"file": SURGERY, "batch_size": 16, **STEPS}
    assert record(operated.out / SURGERY) == found
    assert f"`{SURGERY}` holds a module" in (operated.out / "README.md").read_text(encoding="utf-8")


def test_evaluation_measures_each_task_with_its_module(pool: Any, operated: mw.MergeReport) -> None:
    result = mw.evaluate(operated.out, ["warm", "cold"], data=pool.data)
    assert result.repaired == ("warm", "cold")
    assert result.to_json()["surgery"] == ["warm", "cold"]
    prepared = PreparedTask(open_task("warm", pool.data, 0), open_base(operated.out))
    encoder = prepared.clip.encoder_for("warm")
    pixels = prepared.pixels("test")
    assert not torch.equal(encoder(pixels[:2] / 255), prepared.clip.encoder(pixels[:2] / 255))
    assert result.accuracy["warm"] == accuracy(
        predict(encoder, pixels, prepared.head), prepared.labels("test")
    )


def test_it_goes_on_top_of_a_merge_that_learns(pool: Any, tmp_path: Path) -> None:
    first, second = (mw.merge(recipe(pool, "adamerging"), tmp_path / out).out for out in ("one", "two"))
    assert (first / SURGERY).read_bytes() == (second / SURGERY).read_bytes()


def test_what_is_wrong_is_refused_and_nothing_is_written(pool: Any, tmp_path: Path) -> None:
    def refused(kind: type[MergewardError], match: str, **changed: Any) -> None:
        with pytest.raises(kind, match=match):
            mw.merge(recipe(pool, **changed), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    refused(RecipeError, r"surgery\.ranks: unknown key; did you mean 'rank'", surgery={"ranks": 3})
    refused(RecipeError, r"models\[0\]\.task: missing; surgery learns", models=[{"model": pool.clean}])
    refused(UnsupportedError, "beyond the image encoder", scope="all")


def test_a_model_with_modules_is_not_hardened(pool: Any, operated: mw.MergeReport, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="has surgery modules"):
        mw.harden(operated.out, pool.base, "fine_pruning", ["warm"], tmp_path / "out", data=pool.data)
