"""The demonstration's grid, on a tiny CLIP and tiny tasks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from colour_task import save_colour_task
from mergeward.bench import DemoConfig, Results, run_demo
from mergeward.bench.demo import ATTACKS
from mergeward.errors import UsageError
from mergeward.train import FinetuneConfig
from quick import QUICK

TRAINING = FinetuneConfig(steps=2, batch_size=6, warmup_steps=1)
CONFIG = DemoConfig(methods=QUICK, training=TRAINING, attacker_training=TRAINING)
TASKS = ["warm", "cold"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in TASKS:
        save_colour_task(folder, name)
    return folder


@pytest.fixture(scope="module")
def results(tiny_clip: Path, data: Path) -> Results:
    return run_demo(tiny_clip, TASKS, CONFIG, data=data)


def test_every_attack_meets_every_method(results: Results) -> None:
    met = {(row.attack, row.method) for row in results.rows}
    assert met == {(attack, method) for attack in ("none", *ATTACKS) for method in QUICK}
    assert len(results.rows) == len(met)


def test_rows_have_the_fields_of_the_json_form(results: Results) -> None:
    content = results.to_json()
    assert {"rows", "controls"} <= content.keys()
    for row in content["rows"]:
        assert row["target_task"] == "cold"
        assert set(row["accuracy_by_task"]) == {"warm", "cold"}
        assert row["accuracy"] == pytest.approx(sum(row["accuracy_by_task"].values()) / 2)
        assert 0 <= row["asr_low"] <= row["asr"] <= row["asr_high"] <= 1
        assert row["seconds"] >= 0
        assert math.isfinite(row["accuracy_normalised"])


def test_the_controls_are_complete(results: Results) -> None:
    controls = results.controls
    assert set(controls.base.asr) == set(ATTACKS)
    assert set(controls.fine_tuned) == {"warm", "cold"}
    assert set(controls.attacker_alone) == set(ATTACKS)
    assert set(controls.clean_merge) == set(controls.clean_retrain) == set(QUICK)
    clean = {row.method: row.accuracy for row in results.rows if row.attack == "none"}
    assert clean == {name: control.accuracy for name, control in controls.clean_merge.items()}


def test_examples_are_of_other_classes_than_the_target(results: Results) -> None:
    for pictures in results.pictures:
        assert pictures.examples
        for example in pictures.examples:
            assert example.true_class != pictures.target_class
            assert set(example.predictions) == set(QUICK)
            changed = (example.clean != example.triggered).any(axis=-1)
            assert not changed[pictures.footprint == 0].any()


def test_a_second_run_trains_and_merges_nothing(
    results: Results, tiny_clip: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made again instead of taken from the cache")

    for step in ("_make", "_predict"):
        monkeypatch.setattr(f"mergeward.bench.workshop.Workshop.{step}", refuse)
    assert run_demo(tiny_clip, TASKS, CONFIG, data=data).to_json() == results.to_json()


def test_another_seed_is_another_run(tiny_clip: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def note(*_: object, **__: object) -> None:
        made.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr("mergeward.bench.workshop.Workshop._make", note)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tiny_clip, TASKS, replace(CONFIG, seed=1), data=data)
    assert made


def test_one_task_is_too_few(tiny_clip: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="two tasks"):
        run_demo(tiny_clip, TASKS[:1], CONFIG, data=data)


def test_a_mistyped_target_is_named(tiny_clip: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'cold'"):
        run_demo(tiny_clip, TASKS, replace(CONFIG, target_task="colt"), data=data)
