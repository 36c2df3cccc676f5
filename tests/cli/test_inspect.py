"""`mergeward inspect` and `mergeward convert`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mergeward.cli.app import run
from mergeward.provenance import Provenance
from openclip import ImageEncoder, save_module, small_clip
from tiny_clip import save_tuned


def test_a_model_is_shown_and_drawn(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = save_tuned(tiny_clip, tmp_path / "tuned", seed=1)
    picture = tmp_path / "picture.png"
    assert run(["inspect", str(tuned), "--base", str(tiny_clip), "--picture", str(picture)]) == 0
    captured = capsys.readouterr()
    for word in ("checkpoint", "clip", "no record", "visual_projection", "float32", "share"):
        assert word in captured.out
    assert str(picture) in captured.err.replace("\n", "")
    with Image.open(picture) as image:
        assert image.format == "PNG"


def test_json_alone_is_on_standard_output(tiny_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tiny_clip), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["model_type"] == "clip"
    assert captured.err == ""


def test_a_backdoor_that_is_marked_is_told(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Provenance(kind="contribution", method="badnets", backdoor=True)
    tuned = save_tuned(tiny_clip, tmp_path / "tuned", seed=1, metadata=record.to_metadata())
    assert run(["inspect", str(tuned)]) == 0
    assert "carries a backdoor" in capsys.readouterr().err


def test_a_module_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_module(ImageEncoder(small_clip()), tmp_path / "finetuned.pt")
    assert run(["convert", str(source), str(tmp_path / "out"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["layout"], content["activation"], content["tensors"]) == (
        "hugging-face",
        "quick_gelu",
        46,
    )
    assert run(["inspect", str(tmp_path / "out")]) == 0
    assert "converted by convert" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["inspect", "nowhere"], 4, "nowhere: no such file"),
        (["inspect", "{pickle}", "--picture", "p.png"], 2, "--picture shows the change from a base"),
        (["inspect", "{pickle}", "--base", "embedded"], 4, "not a fine-tune of"),
        (["convert", "nowhere.pt", "out"], 4, "nowhere.pt: no such file"),
        (["convert", "{pickle}", "{folder}"], 7, "not empty"),
        (["convert", "{pickle}", "out", "--activation", "quickgelu"], 2, "did you mean 'quick_gelu'?"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pt")
    places = {"{pickle}": str(tmp_path / "model.pt"), "{folder}": str(tmp_path)}
    assert run([places.get(argument, argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
