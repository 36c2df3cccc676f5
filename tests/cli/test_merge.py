"""`mergeward merge`: the plan, the options, and what progress shows."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from mergeward.cli import terminal
from mergeward.cli.app import run
from mergeward.cli.options import size
from mergeward.errors import UsageError
from mergeward.progress import track
from mergeward.provenance import Provenance
from tiny_clip import save_tuned


@pytest.fixture
def recipe(tiny_clip: Path, tmp_path: Path) -> str:
    tuned = save_tuned(tiny_clip, tmp_path / "tuned", seed=1)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"merge_method: ties\nbase_model: {tiny_clip}\nmodels:\n  - model: {tuned}\n"
        f"    parameters: {{weight: [0, 1]}}\nparameters: {{int8_mask: true}}\n"
    )
    return str(path)


def test_a_plan_for_people(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", recipe, str(tmp_path / "out"), "--dry-run"]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    lines = [line.split(maxsplit=1)[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert lines == ["method", "settings", "base", "tuned", "tensors", "reads", "memory", "writes", "note"]
    assert "ties: trims each task vector" in shown
    assert "weight=[0, 1]" in " ".join(shown.split())
    assert not (tmp_path / "out").exists()


def test_a_plan_for_programs(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", recipe, str(tmp_path / "out"), "--dry-run", "--json", "--shard-size", "5kB"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["method"] == "ties"
    assert plan["settings"]["models"]["tuned"]["weight"] == [0, 1]
    assert len(plan["files"]) > 1


def test_a_mark_is_told_on_the_screen(
    tiny_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = Provenance(kind="contribution", method="badnets", backdoor=True).to_metadata()
    for name, metadata in (("marked", marked), ("clean", None)):
        tuned = save_tuned(tiny_clip, tmp_path / name, seed=1, metadata=metadata)
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(f"merge_method: average\nbase_model: {tiny_clip}\nmodels: [{{model: {tuned}}}]\n")
        assert run(["merge", str(recipe), str(tmp_path / f"{name}-out")]) == 0
        told = "marked says of itself that it carries a backdoor" in " ".join(capsys.readouterr().err.split())
        assert told == (name == "marked")


def test_options_reach_the_merge(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--shard-size", "5KB", "--threads", "1", "--device", "cpu", "--resume"]
    assert run(["merge", recipe, str(out), *options]) == 0
    assert len(list(out.glob("*.safetensors"))) > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "gpu"], "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        (["--shard-size", "big"], "--shard-size big: expected a size such as 5GB"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_options_that_make_no_sense(
    recipe: str, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["merge", recipe, str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("17B", 17),
        ("5GB", 5_000_000_000),
        ("1.5 mb", 1_500_000),
        ("2GiB", 2 << 30),
        ("3KiB", 3 << 10),
        ("1TB", 10**12),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text, option="--shard-size") == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 GBB", "1e9", "0", "0.1B", "5Gi"])
def test_texts_that_are_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--shard-size"):
        size(text, option="--shard-size")


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> str:
    """What is shown of work in steps and of work in bytes."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=is_terminal, width=120)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    with terminal.show_progress():
        list(track(range(3), "in steps"))
        for _ in track([1_000_000, 3_000_000, 6_000_000], "in bytes", nbytes=int):
            if is_terminal:
                time.sleep(0.25)  # bars are drawn ten times a second
    return screen.getvalue()


def test_progress_shows_bytes_a_second_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, is_terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"in bytes \S+ 4\.0/10\.0 MB \d+\.\d MB/s 0:00:00 0:00:0\d", plain)


def test_nothing_is_shown_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, is_terminal=False) == ""


def test_an_audit_that_the_recipe_asks_for_and_nobody_does_is_told(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(recipe).open("a", encoding="utf-8") as file:
        file.write("audit: {policy: refuse}\n")
    assert run(["merge", recipe, str(tmp_path / "out"), "--dry-run"]) == 0
    assert "audit (policy refuse) is not done; --audit does it" in capsys.readouterr().err
