"""`mergeward bench`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from colour_task import save_colour_task
from mergeward.bench.suite import suite_names
from mergeward.cli.app import run

SUITE = """
title: One merge
summary: No attack at all.
tasks: [warm, cold]
training: {steps: 1, batch_size: 6}
methods: [average]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a suite and its tasks."""
    (tmp_path / "one.yaml").write_text(SUITE)
    for name in ("warm", "cold"):
        save_colour_task(tmp_path / "data", name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_suites_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "list", "--json"]) == 0
    assert [suite["name"] for suite in json.loads(capsys.readouterr().out)] == list(suite_names())
    assert run(["bench", "show", "mini-smoke"]) == 0
    assert "badmerging-on" in capsys.readouterr().out


def test_what_looks_like_markup_is_shown_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text("extends: mini-smoke\ntitle: 'dam [released] [/x] :smile:'\n")
    assert run(["bench", "show", "mine.yaml"]) == 0
    assert "dam [released] [/x] :smile:" in capsys.readouterr().out


def test_a_suite_is_run_gone_on_with_exported_and_compared(
    here: Path, tiny_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "run", "./one.yaml", "--data", "data", "--base", str(tiny_clip)]
    assert run([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["cells"], plan["contributions"]) == (4, 2)
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    done = json.loads(captured.out)
    assert done == {"run": "one.sqlite", "measured": 4, "kept": 0, "failed": [], "partial": []}
    assert "[4/4] clean merge: average seed 0: accuracy" in captured.err
    assert run(arguments) == 7
    assert "--resume goes on" in capsys.readouterr().err
    assert run([*arguments, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 4
    assert run(["bench", "export", "one.sqlite", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert run(["bench", "compare", "one.sqlite", "one.sqlite"]) == 0


def test_what_other_code_measured_is_said_before_it_is_measured_again(
    here: Path, tiny_clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench", "run", "./one.yaml", "--data", "data", "--base", str(tiny_clip)]
    assert run(arguments) == 0
    monkeypatch.setattr("mergeward.bench.workshop.code_digest", lambda _: "another")
    capsys.readouterr()
    assert run([*arguments, "--resume"]) == 0
    first = capsys.readouterr().err.splitlines()
    told = "warning: 3 cells were measured with other code; measured again. The run as it was: one.before-"
    assert [line for line in first if line.startswith(told)] == first[:1]
    assert len(list(here.glob("one.before-*.sqlite"))) == 1


def test_a_dry_run_makes_no_base(
    here: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mergeward.testbed.base.pretrain", refuse)
    arguments = ["bench", "run", "./one.yaml", "--data", "data", "--dry-run"]
    assert run([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["base_to_make"]
    assert (plan["cells"], plan["cells_in_cache"]) == (4, 0)
    assert (plan["contributions"], plan["contributions_to_make"]) == (2, 2)
    assert run(arguments) == 0
    assert "one would be pretrained on this data first" in capsys.readouterr().err
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def refuse(*_: object) -> None:
    raise AssertionError("a base is made")


def test_a_dry_run_takes_the_base_that_was_made_before(
    here: Path,
    empty_cache: Path,
    tiny_clip: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "mergeward.testbed.base.pretrain", lambda _, out, *others: shutil.copytree(tiny_clip, out)
    )
    arguments = ["bench", "run", "./one.yaml", "--data", "data"]
    assert run(arguments) == 0
    capsys.readouterr()
    assert run([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not plan["base_to_make"]
    assert (plan["cells_in_cache"], plan["contributions_to_make"]) == (4, 0)


def test_failed_cells_are_listed_and_the_exit_code_says_so(
    here: Path, tiny_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_colour_task(here / "data", "mild")
    three = SUITE.replace("[warm, cold]", "[warm, cold, mild]")  # nuslerp merges two
    (here / "one.yaml").write_text(three.replace("average", "nuslerp"))
    assert run(["bench", "run", "one.yaml", "--data", "data", "--base", str(tiny_clip)]) == 1
    error = capsys.readouterr().err
    assert "1 failed" in error
    assert "error: clean merge: nuslerp seed 0: " in error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "mini-smok"], 2, "did you mean 'mini-smoke'"),
        (["run", "mini-smoke", "--only", "method=tie"], 2, "method of suite mini-smoke"),
        (["run", "mini-smoke", "--only", "ties"], 2, "expected KEY=NAME"),
        (["run", "mini-smoke", "--seeds", "a"], 2, "--seeds a"),
        (["run", "mini-smoke", "--engine", "rya"], 2, "did you mean 'ray'"),
        (["run", "mini-smoke", "--address", "auto"], 2, "--address is of --engine ray"),
        (["run", "mini-smoke", "--store", "nowhere://x"], 2, "store nowhere://x: expected a folder or a URL"),
        (["log", "no.sqlite"], 5, "no such file"),
        (["export", "no.sqlite"], 5, "no such file"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    here: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_store_is_cleaned(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_cache / "merge" / "x").mkdir(parents=True)
    (empty_cache / "merge" / "x" / "weights").write_bytes(bytes(2_000_000))
    assert run(["bench", "clean", "--dry-run"]) == 0
    assert "would be freed: 2.0 MB" in capsys.readouterr().err
    assert run(["bench", "clean"]) == 0
    assert not (empty_cache / "merge" / "x").exists()
