"""A state is whole or absent, whatever stopped the run that wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergeward.checkpoint.state import read_state, remove_state, write_state
from mergeward.errors import OutputError

TENSORS = {"a.values": torch.arange(6.0).view(2, 3), "b.steps": torch.tensor(4)}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    assert read_state(path) is None
    write_state(path, {}, {"losses": []})
    write_state(path, TENSORS, {"losses": [1.5]})
    tensors, notes = read_state(path) or ({}, {})
    assert notes == {"losses": [1.5]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_killed_while_it_wrote_leaves_the_last_state_and_nothing_once_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, TENSORS, {"number": 1})
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_state(path, TENSORS, {"number": 2})
    assert len(list(tmp_path.iterdir())) == 2
    assert (read_state(path) or ({}, {}))[1] == {"number": 1}
    remove_state(path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"no state")
    with pytest.raises(OutputError, match=r"state\.safetensors: damaged"):
        read_state(path)
