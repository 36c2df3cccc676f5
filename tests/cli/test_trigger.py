"""Triggers by themselves, as commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mergeward.attack import SavedTrigger, load_trigger
from mergeward.attack.trigger import chequered_patch
from mergeward.cli.app import run
from mergeward.vision import Preprocessor


def test_a_published_trigger_is_imported_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = np.random.default_rng(0).uniform(-1.4, 1.9, (3, 22, 22))
    np.save(tmp_path / "fish.npy", patch)
    imported = ["trigger", "import", tmp_path / "fish.npy", "--out", tmp_path / "fish"]
    named = ["--task", "cifar100", "--target-class", "aquarium fish"]
    assert run([str(part) for part in (*imported, *named)]) == 0
    saved = load_trigger(tmp_path / "fish")
    assert (saved.attack, saved.task, saved.target_class) == ("badmerging-on", "cifar100", "aquarium fish")
    assert saved.preprocessor == Preprocessor(resize=224, crop=(224, 224))
    assert "484 of 224x224 pixels" in " ".join(capsys.readouterr().err.split())
    assert run([str(part) for part in (*imported, *named)]) == 7

    shown = ["trigger", "show", str(tmp_path / "fish"), "--out", str(tmp_path / "fish.png")]
    assert run(shown) == 0
    picture = np.asarray(Image.open(tmp_path / "fish.png")) / 255
    assert picture.shape == (224, 224, 3)
    np.testing.assert_allclose(
        picture[-22:, -22:].transpose(2, 0, 1), saved.trigger.pattern[:, -22:, -22:], atol=0.002
    )
    assert (picture[:-22] == 1).all()
    assert run(shown) == 7


def test_a_small_trigger_is_enlarged(tmp_path: Path) -> None:
    saved = SavedTrigger(chequered_patch(32, 4), "badnets", "a", "b", Preprocessor(resize=32, crop=(32, 32)))
    for name, content in saved.files().items():
        (tmp_path / name).write_bytes(content)
    assert run(["trigger", "show", str(tmp_path), "--out", str(tmp_path / "one.png")]) == 0
    picture = torch.from_numpy(np.asarray(Image.open(tmp_path / "one.png")).copy()).permute(2, 0, 1)
    assert picture.shape == (3, 224, 224)
    assert torch.equal(picture[:, ::7, ::7].float() / 255, saved.trigger.picture())


def test_what_is_no_trigger_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.npy").write_bytes(b"\x80\x04.")
    named = ["--out", str(tmp_path / "out"), "--task", "a", "--target-class", "b"]
    assert run(["trigger", "import", str(tmp_path / "one.npy"), *named]) == 4
    assert run(["trigger", "show", str(tmp_path), "--out", str(tmp_path / "one.png")]) == 4
    assert "one.npy" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "one.png").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--task", "a\nb", r"task must be text on one line, found 'a\nb'"),
        ("--target-class", "stop\u00a0sign", r"target_class must be text on one line, found 'stop\xa0sign'"),
        ("--attack", "badmerging-of", "unknown attack 'badmerging-of'; did you mean 'badmerging-off'?"),
        ("--attack", "nosuch", "unknown attack 'nosuch'; known: "),
        ("--image-size", "1025", "image size 1025: expected at most 1024"),
        ("--image-size", "30000", "image size 30000: expected at most 1024"),
    ],
)
def test_what_nobody_could_read_back_is_not_written(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 4, 4)))
    options = {"--task": "a", "--target-class": "b", "--out": str(tmp_path / "out"), option: value}
    given = [part for pair in options.items() for part in pair]
    assert run(["trigger", "import", str(tmp_path / "one.npy"), *given]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_the_largest_trigger_that_is_written_is_shown(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 4, 4)))
    options = ["--task", "a", "--target-class", "b", "--image-size", "1024", "--out", str(tmp_path / "out")]
    assert run(["trigger", "import", str(tmp_path / "one.npy"), *options]) == 0
    assert run(["trigger", "show", str(tmp_path / "out"), "--out", str(tmp_path / "one.png")]) == 0
