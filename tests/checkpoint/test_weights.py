"""Weights files while they are being written, and after a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergeward.checkpoint import Piece, weights
from mergeward.checkpoint.shards import ShardPlan, plan_shards
from mergeward.checkpoint.source import InMemory
from mergeward.checkpoint.weights import JOURNAL, PARTIAL, Weights
from mergeward.errors import OutputError

STATE = {name: torch.arange(6.0) + index for index, name in enumerate("abcdef")}
STATE["empty"] = torch.zeros(0, 2)
TENSORS = InMemory(STATE).tensors


@pytest.fixture
def plan() -> ShardPlan:
    return plan_shards(TENSORS, dtype=None, metadata={"format": "pt"}, shard_bytes=50)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring every piece to the disk at once."""
    monkeypatch.setattr(weights, "SYNC_BYTES", 1)


def give(writer: Weights, names: str | list[str]) -> None:
    for name in names:
        writer.write(Piece(name, 0, STATE[name]))


def loaded(folder: Path, plan: ShardPlan) -> dict[str, torch.Tensor]:
    return {name: value for file in plan.layouts for name, value in load_file(folder / file).items()}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_nothing_has_its_name_until_all_is_there(tmp_path: Path, plan: ShardPlan) -> None:
    with Weights(tmp_path, plan, TENSORS) as writer:
        give(writer, [*"abcdef"])
        assert {path.suffix for path in tmp_path.iterdir()} == {PARTIAL}
        give(writer, ["empty"])
        writer.finish()
    assert {path.name for path in tmp_path.iterdir()} == set(plan.layouts)
    assert same(loaded(tmp_path, plan))


def test_pieces_of_a_tensor_come_in_a_row(tmp_path: Path, plan: ShardPlan) -> None:
    with Weights(tmp_path, plan, TENSORS) as writer:
        writer.write(Piece("a", 0, STATE["a"][:2]))
        writer.write(Piece("b", 0, STATE["b"]))
        with pytest.raises(OutputError, match=r"tensor 'a' given twice, or not in a row \(value 3\)"):
            writer.write(Piece("a", 3, STATE["a"][3:]))
        writer.write(Piece("a", 2, STATE["a"][2:]))
        with pytest.raises(OutputError, match="tensor 'a' given twice"):
            writer.write(Piece("a", 0, STATE["a"]))


def test_the_journal_lists_what_is_whole(tmp_path: Path, plan: ShardPlan, eager: None) -> None:
    with Weights(tmp_path, plan, TENSORS) as writer:
        give(writer, "ab")
        writer.write(Piece("c", 0, STATE["c"][:2]))
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["a", "b"]


def go_on(folder: Path, plan: ShardPlan) -> set[str]:
    """Write what is not done yet; return what was."""
    with Weights(folder, plan, TENSORS) as writer:
        done = set(writer.done)
        give(writer, [name for name in STATE if name not in done])
        writer.finish()
    return done


def test_another_run_goes_on_from_the_journal(tmp_path: Path, plan: ShardPlan, eager: None) -> None:
    with Weights(tmp_path, plan, TENSORS) as writer:
        give(writer, "ab")
        writer.write(Piece("c", 0, STATE["c"][:2]))
    assert go_on(tmp_path, plan) == {"a", "b"}
    assert same(loaded(tmp_path, plan))


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path, plan: ShardPlan, eager: None) -> None:
    with Weights(tmp_path, plan, TENSORS) as writer:
        give(writer, "abc")
    with (tmp_path / JOURNAL).open("r+") as journal:
        journal.truncate(len('"a"\n"b"\n"c'))
    assert go_on(tmp_path, plan) == {"a", "b"}
    assert same(loaded(tmp_path, plan))


@pytest.mark.parametrize("renamed", [1, 2])
def test_a_run_stopped_while_it_named_the_files_goes_on(
    tmp_path: Path, plan: ShardPlan, eager: None, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    class StoppedError(Exception):
        pass

    rename, left = Path.rename, iter(range(renamed))

    def stop(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise StoppedError
        return rename(path, target)

    assert len(plan.layouts) == 3
    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(StoppedError):
        go_on(tmp_path, plan)
    monkeypatch.setattr(Path, "rename", rename)
    assert len(list(tmp_path.glob("*.safetensors"))) == renamed
    assert go_on(tmp_path, plan) == set(STATE)
    assert same(loaded(tmp_path, plan))
