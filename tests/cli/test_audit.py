"""`mergeward audit`: its exit codes, its table, its JSON."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mergeward.audit import STAGES, StageResult
from mergeward.cli.app import run
from mergeward.provenance import Provenance
from tiny_clip import save_tuned


@pytest.fixture
def recipe(tiny_clip: Path, tmp_path: Path) -> Path:
    models = [save_tuned(tiny_clip, tmp_path / f"model-{index}", seed=index) for index in range(3)]
    path = tmp_path / "recipe.yaml"
    content = {
        "merge_method": "ties",
        "base_model": str(tiny_clip),
        "models": [{"model": str(model)} for model in models],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_nothing_found_but_not_everything_examined(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", str(recipe)]) == 2
    output = capsys.readouterr().out
    assert "inconclusive" in output
    assert "Not covered" in output
    assert "Not examined by inversion: no contribution names its task" in output.replace("\n", " ")
    assert "no issue" not in output.lower()
    assert "not judged" in output
    assert "pass" not in output


def test_a_suspect(tiny_clip: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marked = Provenance(kind="contribution", method="badnets", backdoor=True).to_metadata()
    folder = recipe.parent / "[red]model"
    save_tuned(tiny_clip, folder, seed=7, metadata=marked)
    text = recipe.read_text(encoding="utf-8").replace("model-2", folder.name)
    recipe.write_text(text, encoding="utf-8")
    assert run(["audit", str(recipe)]) == 1
    output = capsys.readouterr().out
    assert "[red]model" in output.replace("\n", "")
    assert "suspect" in output


def test_failed_and_nothing_examined(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        (recipe.parent / f"model-{index}" / "model.safetensors").unlink()
        assert run(["audit", str(recipe)]) == (3 if index == 2 else 2)
        assert "hygiene failed" in capsys.readouterr().out


def test_usage(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("merge_methd: ties", encoding="utf-8")
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(recipe.read_text(encoding="utf-8").replace("ties", "tie"), encoding="utf-8")
    for arguments in (
        [],
        [str(recipe), "--jso", "x"],
        [str(recipe), "--budget", "quik"],
        [str(tmp_path / "nowhere.yaml")],
        [str(wrong)],
        [str(unknown)],
    ):
        assert run(["audit", *arguments]) == 4, arguments
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_missing_base_is_a_failure(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    recipe.write_text(yaml.safe_dump({**content, "base_model": "./no-base"}), encoding="utf-8")
    assert run(["audit", str(recipe)]) == 2
    assert "no-base" in capsys.readouterr().err


def test_what_the_system_refuses_has_the_codes_of_this_command(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["audit", "r" * 300]) == 4

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "audit.json")

    monkeypatch.setattr("mergeward.cli.audit.write_json", full)
    assert run(["audit", str(recipe), "--json", "audit.json"]) == 2
    assert "audit.json: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "traced"),
    [
        (RuntimeError("shapes differ"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), False),
        (MemoryError("9 bytes"), False),
        (OSError(errno.EIO, "Input/output error"), False),
    ],
    ids=["bug", "memory of PyTorch", "memory of Python", "disk"],
)
def test_a_failure_that_nobody_expected_is_no_suspect(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    traced: bool,
) -> None:
    def fail(_: object) -> StageResult:
        raise error

    stage = replace(STAGES[1], run=fail)
    module = import_module("mergeward.audit.run")  # `mergeward.audit` has a function of its name
    monkeypatch.setattr(module, "STAGES", (STAGES[0], stage, *STAGES[2:]))
    assert run(["audit", str(recipe), "--json", str(tmp_path / "report.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"error: the audit failed: {type(error).__name__}: {error}" in captured.err
    assert ("Traceback" in captured.err) is traced
    assert not (tmp_path / "report.json").exists()


def test_a_reader_that_went_away_changes_no_exit_code(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("rich.console.Console.print", gone)
    monkeypatch.setattr("mergeward.cli.audit.hush", lambda: None)
    assert run(["audit", str(recipe)]) == 2


def test_a_base_that_is_no_clip_is_audited_by_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = []
    for name in ("base", "one", "two", "three"):
        save_file({"w": torch.arange(4.0) + len(entries)}, tmp_path / f"{name}.safetensors")
        entries.append(str(tmp_path / f"{name}.safetensors"))
    content = {
        "merge_method": "task_arithmetic",
        "base_model": entries[0],
        "models": [{"model": model, "task": "digits"} for model in entries[1:]],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert run(["audit", str(path)]) == 2
    output = " ".join(capsys.readouterr().out.split())
    assert "3 of 3 examined" in output
    assert "Not examined by inversion: the base cannot be run as a model" in output


def test_the_exit_codes_of_other_commands_are_as_before(tmp_path: Path) -> None:
    assert run(["merge", str(tmp_path / "nowhere.yaml"), str(tmp_path / "out")]) == 3
    assert run(["merge", "--jso"]) == 2


def test_json(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    run(["audit", str(recipe), "--json", str(path)])
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["exit_code"] == 2
    assert sorted(one["rank"] for one in content["contributions"]) == [1, 2, 3]
    assert capsys.readouterr().out


def test_sarif_and_html(recipe: Path, tmp_path: Path) -> None:
    sarif, page = tmp_path / "report.sarif", tmp_path / "report.html"
    assert run(["audit", str(recipe), "--budget", "quick", "--sarif", str(sarif), "--html", str(page)]) == 2
    assert json.loads(sarif.read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert "Audit: inconclusive" in page.read_text(encoding="utf-8")


def test_help_says_that_the_exit_codes_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "Exit codes of this command" in words
    assert "3 nothing could be examined" in words


@pytest.mark.parametrize("option", ["--json", "--sarif", "--html"])
def test_a_report_that_cannot_be_written_is_refused_before_the_audit(
    recipe: Path, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_module("mergeward.cli.audit"), "audit", None)
    assert run(["audit", str(recipe), option, str(recipe / "report")]) == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err
