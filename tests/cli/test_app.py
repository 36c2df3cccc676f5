"""Every failure that a user can cause: one line, an exit code, and no traceback."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from colour_task import save_colour_task
from mergeward import catalogue
from mergeward.cli.app import run
from mergeward.provenance import package_version
from tiny_clip import save_tuned


def write_recipe(folder: Path, base: Path, contribution: Path | str, method: str = "task_arithmetic") -> str:
    path = folder / "recipe.yaml"
    path.write_text(
        f"merge_method: {method}\nbase_model: {base}\nmodels:\n  - model: {contribution}\n    task: digits\n"
    )
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, *words: str) -> None:
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"mergeward {package_version()}\n"


@pytest.mark.parametrize("kind", ["methods", "attacks", "defenses", "tasks"])
def test_lists_are_json(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", kind, "--json"]) == 0
    captured = capsys.readouterr()
    names = [entry["name"] for entry in json.loads(captured.out)]
    expected = catalogue.tasks() if kind == "tasks" else getattr(catalogue, kind)()
    assert names == [entry["name"] for entry in expected]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["merg"], "merge"),
        (["list", "method"], "did you mean 'methods'"),
        (["evaluate", "embedded", "--task", "digitz"], "did you mean 'digits'"),
        (
            ["attack", "badnet", "--base", "x", "--task", "t", "--target-class", "0", "--out", "o"],
            "'badnets'",
        ),
        (["demo", "--sed", "1"], "--seed"),
    ],
)
def test_unknown_names_suggest_what_was_meant(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, arguments, 2, words)


def test_an_unknown_class_is_named(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_colour_task(tmp_path / "data", "warm")
    arguments = [
        "attack",
        "badnets",
        "--base",
        str(tiny_clip),
        "--task",
        "warm",
        "--data",
        str(tmp_path / "data"),
    ]
    more = ["--target-class", "red squares", "--out", str(tmp_path / "out")]
    refused(capsys, [*arguments, *more], 2, "did you mean 'red square'")
    assert not (tmp_path / "out").exists()


def test_a_missing_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["merge", str(tmp_path / "no.yaml"), str(tmp_path / "out")], 3, "no such file")


def test_a_name_too_long_for_the_system(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, ["merge", "r" * 300, str(tmp_path / "out")], 2, "name too long")
    recipe = write_recipe(tmp_path, tiny_clip, tmp_path / ("m" * 300))
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 2, "name too long")


def test_an_unknown_method(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, tiny_clip, tiny_clip, "task-arithmetic")
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 2, "did you mean 'task_arithmetic'")


def test_a_pickle(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.bin").write_bytes(pickle.dumps({"w": 1}))
    recipe = write_recipe(tmp_path, tiny_clip, tmp_path / "model.bin")
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 4, "pickle")


def test_nan_in_a_tensor(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = save_tuned(tiny_clip, tmp_path / "tuned", seed=1)
    tensors = load_file(tuned / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] = torch.nan
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    recipe = write_recipe(tmp_path, tiny_clip, tuned)
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 4, "NaN", "visual_projection.weight")
    assert not (tmp_path / "out").exists()


def test_another_architecture(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    recipe = write_recipe(tmp_path, tiny_clip, tmp_path / "other.safetensors")
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 4, "other.safetensors", "not a fine-tune")


def test_a_folder_with_one_class(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "only").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "only" / "a.png")
    refused(capsys, ["evaluate", str(tiny_clip), "--task", str(tmp_path / "data")], 5, "class")


def test_a_data_file_of_another_shape(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = {"train_x": np.zeros((4, 8), np.uint8), "train_y": np.zeros(4, np.int64)}
    flat |= {"test_x": flat["train_x"], "test_y": flat["train_y"], "classnames": np.array(["a", "b"])}
    np.savez(tmp_path / "flat.npz", **flat)
    refused(capsys, ["evaluate", str(tiny_clip), "--task", str(tmp_path / "flat.npz")], 5, "train_x")


def test_an_output_that_exists(tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, tiny_clip, save_tuned(tiny_clip, tmp_path / "tuned", seed=1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 7, "not empty")
    assert (tmp_path / "out" / "precious").read_text() == "kept"


def test_a_full_disk(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, tiny_clip, save_tuned(tiny_clip, tmp_path / "tuned", seed=1))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 7, "free on the disk")
    assert not (tmp_path / "out").exists()


def test_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mergeward.cli.merge.merge", interrupt)
    recipe = write_recipe(tmp_path, tiny_clip, tiny_clip)
    refused(capsys, ["merge", recipe, str(tmp_path / "out")], 130, "interrupted")


def test_a_merge_as_json_in_a_process_of_its_own(tiny_clip: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tiny_clip, save_tuned(tiny_clip, tmp_path / "tuned", seed=1))
    command = [sys.executable, "-m", "mergeward", "merge", recipe, str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["method"] == "task_arithmetic"
    assert done.stderr == ""
    assert (tmp_path / "out" / "model.safetensors").is_file()
