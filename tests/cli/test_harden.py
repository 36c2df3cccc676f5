"""`mergeward harden`."""

from __future__ import annotations

from pathlib import Path

import pytest

from interruptions import stop_at
from mergeward.checkpoint import open_checkpoint
from mergeward.cli.app import run
from mergeward.cli.options import assignments
from mergeward.errors import UsageError
from mergeward.provenance import Provenance
from tiny_clip import save_tuned


def test_a_hardened_model_is_written(tiny_clip: Path, tmp_path: Path) -> None:
    merged = save_tuned(tiny_clip, tmp_path / "merged", seed=1)
    out = tmp_path / "out"
    arguments = [
        "harden",
        str(merged),
        "--base",
        str(tiny_clip),
        "--defense",
        "fine_pruning",
        "--out",
        str(out),
    ]
    assert run([*arguments, "--task", "digits", "--set", "share=0.5", "--seed", "2"]) == 0
    with open_checkpoint(out) as checkpoint:
        record = Provenance.from_metadata(checkpoint.metadata)
    assert record is not None
    assert (record.kind, record.seed) == ("hardened", 2)
    assert record.parameters.items() >= {"share": 0.5, "tasks": ["digits"]}.items()


def test_a_mark_is_told_on_the_screen(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = Provenance(kind="merge", method="ties", backdoor=True).to_metadata()
    for name, metadata in (("marked", marked), ("clean", None)):
        merged = save_tuned(tiny_clip, tmp_path / name, seed=1, metadata=metadata)
        arguments = ["--base", str(tiny_clip), "--defense", "fine_pruning", "--task", "digits"]
        assert run(["harden", str(merged), *arguments, "--out", str(tmp_path / f"{name}-out")]) == 0
        told = "carries a backdoor" in " ".join(capsys.readouterr().err.split())
        assert told == (name == "marked")


def test_other_models_are_given_one_by_one(tiny_clip: Path, tmp_path: Path) -> None:
    merged, out = save_tuned(tiny_clip, tmp_path / "merged", seed=1), tmp_path / "out"
    options = {"--base": tiny_clip, "--defense": "wag", "--task": "digits", "--out": out}
    others = [save_tuned(tiny_clip, tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"), 2)]
    arguments = [str(part) for pair in options.items() for part in pair]
    assert run(["harden", str(merged), *arguments, *(f"--with={other}" for other in others)]) == 0
    with open_checkpoint(out) as checkpoint:
        record = Provenance.from_metadata(checkpoint.metadata)
    assert record is not None
    assert list(record.inputs) == ["model", "base", "with a", "with b"]


def test_an_interruption_says_how_to_go_on(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merged, out = save_tuned(tiny_clip, tmp_path / "merged", seed=1), tmp_path / "out"
    options = {"--base": tiny_clip, "--defense": "awm", "--task": "digits", "--out": out}
    command = ["harden", str(merged), *(str(part) for pair in options.items() for part in pair)]
    command += ["--set", "steps=2", "--set", "batch_size=2", "--state-seconds", "0"]
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt)
        assert run(command) != 0
    assert "interrupted; the same command with --resume goes on from here" in capsys.readouterr().err
    assert not out.exists()
    assert run([*command, "--resume"]) == 0


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"--defense": "fine_prunin"}, 2, "did you mean 'fine_pruning'"),
        ({"--defense": "clp"}, 6, "clp: needs convolutions followed by batch normalisation"),
        ({"--defense": "wag"}, 2, "wag: needs other models"),
        ({"--with": "./nowhere"}, 2, "fine_pruning: uses no other model"),
        ({"--task": "digitz"}, 2, "digitz"),
        ({"--set": "shar=1"}, 3, "did you mean 'share'"),
        ({"--set": "share"}, 2, "expected KEY=VALUE"),
        ({"--base": "./nowhere"}, 4, "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    tiny_clip: Path,
    tmp_path: Path,
    changed: dict[str, str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {
        "--base": str(tiny_clip),
        "--defense": "fine_pruning",
        "--task": "digits",
        "--out": str(tmp_path / "out"),
        **changed,
    }
    assert run(["harden", str(tiny_clip), *(part for pair in options.items() for part in pair)]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_values_that_are_set_have_types() -> None:
    assert assignments(["a=1", "b=0.5", "c=true", "d=x=y", "e="]) == {
        "a": 1, "b": 0.5, "c": True, "d": "x=y", "e": None,
    }  # fmt: skip
    assert assignments(None) == {}


@pytest.mark.parametrize("text", ["", "a", "=1", "a=[1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        assignments([text])


def test_a_parameter_that_is_set_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--set a: given twice"):
        assignments(["a=1", "b=1", "a=2"])
