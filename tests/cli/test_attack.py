"""Backdoored contributions as a command, and their measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colour_task import save_colour_task
from mergeward.attack import load_trigger
from mergeward.cli.app import run


def test_an_off_task_attack_is_made_measured_and_read_against_a_control(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("warm", "cold"):
        save_colour_task(tmp_path, name)
    out, data = tmp_path / "bad", ["--data", str(tmp_path)]
    quick = ["--steps", "2", "--batch-size", "6"]
    for setting in (
        "patch_size=4",
        "trigger_steps=1",
        "augmented_images=3",
        "references=2",
        "shadow_classes=3",
    ):
        quick += ["--set", setting]
    target = ["--task", "warm", "--target-task", "cold", "--target-class", "blue circle"]
    command = ["attack", "badmerging-off", "--base", str(tiny_clip), "--out", str(out)]
    assert run([*command, *target, *data, *quick]) == 0
    assert "is backdoored" in " ".join(capsys.readouterr().err.split())
    assert (load_trigger(out).task, load_trigger(out).target_class) == ("cold", "blue circle")

    measured = ["evaluate", str(out), "--task", "warm", "--task", "cold", *data]
    against = ["--trigger", str(out), "--control", str(tiny_clip)]
    assert run([*measured, *against, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target_task"] == "cold"
    assert list(found["transfer"]) == ["warm"]
    assert found["asr_over_control"] == found["asr"] - found["control"]["asr"]
    assert run([*measured, *against]) == 0
    table = capsys.readouterr().out
    for row in ("attack success", "transfer", "accuracy, control", "over control"):
        assert row in table
    assert run([*measured, "--control", str(tiny_clip)]) == 2
    assert run([*command, "--task", "warm", "--target-class", "blue circle", *data]) == 6


@pytest.mark.parametrize(("side", "told"), [(1, True), (2, False)])
def test_a_trigger_that_covers_next_to_nothing_is_told(
    side: int, told: bool, tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_colour_task(tmp_path, "warm")
    command = ["attack", "badnets", "--base", str(tiny_clip), "--task", "warm", "--data", str(tmp_path)]
    options = ["--target-class", "blue circle", "--out", str(tmp_path / "bad"), "--steps", "1"]
    assert run([*command, *options, "--batch-size", "6", "--set", f"patch_size={side}"]) == 0
    errors = " ".join(capsys.readouterr().err.split())
    assert ("covers 0.39% of 16x16 pixels" in errors) == told
