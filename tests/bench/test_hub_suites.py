"""A suite on CLIP from the hub, on a stand-in: real files, real loading code, random weights, few images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import huggingface_hub
import pytest
from safetensors import safe_open

from mergeward.bench.engine import workshop_at
from mergeward.bench.store import read_run
from mergeward.cli.app import run
from mergeward.provenance import METADATA_KEY
from stand_in_hub import hub_clip, image_dataset, parquet_dataset, publish, vision_only

SUITE = """\
extends: clip-dam
title: The main table of DAM, with budgets far too small to mean anything
tasks: {hub: [tanganke/resisc45, tanganke/eurosat, ylecun/mnist]}
training: {steps: 2, batch_size: 6, warmup_steps: 1}
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with the base, three datasets in three forms, and a fine-tune for each."""
    root, made = tmp_path / "hub", tmp_path / "made"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    base = publish(root, "model", "openai/clip-vit-base-patch32", hub_clip(made / "base"))
    publish(root, "dataset", "tanganke/resisc45", parquet_dataset(made / "resisc45", seed=1))
    publish(root, "dataset", "tanganke/eurosat", image_dataset(made / "eurosat", seed=2))
    publish(root, "dataset", "ylecun/mnist", parquet_dataset(made / "mnist", seed=3, inside="mnist"))
    for seed, task in enumerate(("resisc45", "eurosat", "mnist")):
        tuned = vision_only(base, made / task, seed=seed)
        publish(root, "model", f"tanganke/clip-vit-base-patch32_{task}", tuned)
    return root


def test_a_suite_runs_from_the_hub(
    hub: Path, empty_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop_at.cache_clear()
    path, out = tmp_path / "mine.yaml", tmp_path / "run.sqlite"
    path.write_text(SUITE)
    command = ["bench", "run", str(path), "--only", "attack=badvit,method=task_arithmetic", "--seeds", "0"]
    command += ["--out", str(out), "--workers", "1"]
    assert run(command) == 0, capsys.readouterr().err
    done = read_run(out)
    kinds = Counter(row.kind for row in done.cells)
    assert kinds["fine-tuned"] == 3
    assert kinds["attacker alone"] == 2
    assert {row.status for row in done.cells} == {"done"}
    (attacked,) = (row for row in done.cells if row.kind == "attacked merge")
    assert {one.measure for one in done.rates[attacked.cell]} == {
        "accuracy",
        "success",
        "untriggered",
        "transfer",
        "changed",
    }
    assert set(done.about["images"]) == {"hf:tanganke/resisc45", "hf:tanganke/eurosat", "hf:ylecun/mnist"}
    assert made_by(empty_cache) == {"adopt": 3, "badvit": 2, "finetune": 2}

    other = parquet_dataset(tmp_path / "made" / "mnist", seed=4, inside="mnist")
    publish(hub, "dataset", "ylecun/mnist", other)
    workshop_at.cache_clear()
    assert run([*command, "--resume"]) == 2
    assert f"{out}: a run of other images of hf:ylecun/mnist;" in capsys.readouterr().err
    workshop_at.cache_clear()


def made_by(cache: Path) -> Counter[str]:
    """What made the contributions in a store."""
    found: Counter[str] = Counter()
    for path in cache.glob("contribution/*/model/model.safetensors"):
        with safe_open(path, "pt") as file:
            found[json.loads(file.metadata()[METADATA_KEY])["method"]] += 1
    return found
