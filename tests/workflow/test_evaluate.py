"""Measuring a model on tasks, with and without a trigger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mergeward as mw
from mergeward.attack import SavedTrigger
from mergeward.attack.trigger import chequered_patch
from mergeward.errors import CheckpointError, DataError, UsageError
from mergeward.evaluate import attack_success, predict
from mergeward.vision import Preprocessor
from mergeward.workflow import PreparedTask, open_base, open_task


def test_accuracy_is_that_of_the_test_images(pool: Any) -> None:
    result = mw.evaluate(pool.clean, ["warm", "cold"], data=pool.data)
    assert list(result.accuracy) == ["warm", "cold"]
    prepared = PreparedTask(open_task("warm", pool.data, 0), open_base(pool.clean))
    predicted = predict(prepared.clip.encoder, prepared.pixels("test"), prepared.head)
    right = sum(int(a) == int(b) for a, b in zip(predicted, prepared.labels("test"), strict=True))
    assert (result.accuracy["warm"].successes, result.accuracy["warm"].trials) == (right, 8)
    assert result.mean_accuracy == sum(rate.value for rate in result.accuracy.values()) / 2
    assert result.attack_success is None


def test_attack_success_is_that_of_triggered_images_of_other_classes(pool: Any) -> None:
    result = mw.evaluate(pool.backdoored, ["warm", "cold"], trigger=pool.backdoored, data=pool.data)
    prepared = PreparedTask(open_task("cold", pool.data, 0), open_base(pool.backdoored))
    saved = mw.load_trigger(pool.backdoored)
    predicted = predict(prepared.clip.encoder, prepared.pixels("test"), prepared.head, saved.trigger)
    assert result.attack_success == attack_success(predicted, prepared.labels("test"), 0)
    assert result.attack_success.trials == 4


def test_the_json_holds_plain_rates(pool: Any) -> None:
    clean = mw.evaluate(pool.clean, ["warm"], data=pool.data).to_json()
    assert set(clean) == {"model", "accuracy", "accuracy_by_task", "accuracy_intervals"}
    found = mw.evaluate(pool.clean, ["warm", "cold"], trigger=pool.backdoored, data=pool.data).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) - set(clean) == {
        "attack", "target_task", "target_class", "asr", "asr_low", "asr_high", "transfer", "caution"
    }  # fmt: skip
    assert (found["attack"], found["target_task"], found["target_class"]) == ("badnets", "cold", "red square")
    assert 0 <= found["asr_low"] <= found["asr"] <= found["asr_high"] <= 1
    assert set(found["accuracy_by_task"]) == {"warm", "cold"}
    for name, rate in found["accuracy_by_task"].items():
        low, high = found["accuracy_intervals"][name]
        assert 0 <= low <= rate <= high <= 1
    assert found["accuracy"] == pytest.approx(sum(found["accuracy_by_task"].values()) / 2)


def test_transfer_is_success_on_the_other_tasks_for_the_class_of_the_same_number(pool: Any) -> None:
    result = mw.evaluate(pool.backdoored, ["warm", "cold"], trigger=pool.backdoored, data=pool.data)
    prepared = PreparedTask(open_task("warm", pool.data, 0), open_base(pool.backdoored))
    saved = mw.load_trigger(pool.backdoored)
    predicted = predict(prepared.clip.encoder, prepared.pixels("test"), prepared.head, saved.trigger)
    assert result.transfer == {"warm": attack_success(predicted, prepared.labels("test"), 0)}
    assert result.to_json()["transfer"]["warm"]["asr"] == result.transfer["warm"].value


def test_a_control_has_the_same_trigger_and_is_subtracted(pool: Any) -> None:
    tasks = ["warm", "cold"]
    result = mw.evaluate(pool.backdoored, tasks, trigger=pool.backdoored, control=pool.clean, data=pool.data)
    alone = mw.evaluate(pool.clean, tasks, trigger=pool.backdoored, data=pool.data)
    assert result.control is not None
    assert result.control.to_json() == alone.to_json()
    over = result.over_control
    assert over is not None
    found = result.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["control"] == alone.to_json()
    assert found["asr_over_control"] == found["asr"] - alone.to_json()["asr"] == over.value
    assert (found["asr_over_control_low"], found["asr_over_control_high"]) == over.interval
    with pytest.raises(UsageError, match="no trigger was given"):
        mw.evaluate(pool.backdoored, tasks, control=pool.clean, data=pool.data)


def test_what_cannot_be_measured_is_refused(pool: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the trigger is for task 'cold', which is not measured"):
        mw.evaluate(pool.clean, ["warm"], trigger=pool.backdoored, data=pool.data)
    with pytest.raises(CheckpointError, match="warm"):
        mw.evaluate(pool.clean, ["warm"], trigger=pool.clean, data=pool.data)
    with pytest.raises(UsageError, match="no task"):
        mw.evaluate(pool.clean, [])
    with pytest.raises(UsageError, match="did you mean 'warm'"):
        mw.evaluate(pool.clean, ["wurm"], data=pool.data)
    with pytest.raises(DataError, match="nowhere"):
        mw.evaluate(pool.clean, ["warm"], data=tmp_path / "nowhere")


def test_a_trigger_for_images_of_another_size_is_resized_and_that_is_said(pool: Any, tmp_path: Path) -> None:
    trigger, side = chequered_patch(32, 8), Preprocessor(resize=32, crop=(32, 32))
    saved = SavedTrigger(trigger, "badnets", "warm", "red square", side)
    for name, content in saved.files().items():
        (tmp_path / name).write_bytes(content)
    result = mw.evaluate(pool.clean, ["warm"], trigger=tmp_path, data=pool.data)
    assert result.attack_success is not None
    assert result.caution == saved.unlike(open_base(pool.clean).preprocessor)
    assert result.to_json()["caution"] == result.caution
    assert "it is resized" in str(result.caution)
    fitting = mw.evaluate(pool.clean, ["cold"], trigger=pool.backdoored, data=pool.data)
    assert fitting.caution is None
