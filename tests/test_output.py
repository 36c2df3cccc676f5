"""Files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mergeward.errors import OutputError
from mergeward.output import replaceable, replaced, system_errors


def test_a_file_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with replaced(path) as scratch:
            scratch.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def interrupted(path: Path) -> None:
    with replaced(path) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt


def test_an_error_leaves_the_older_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["", ".", "folder", "file/inside"])
def test_what_cannot_be_written_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputError), replaced(Path(name)) as scratch:
        scratch.write_text("text")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.parametrize("place", ["", "folder", "file/new.txt", "file/deep/new.txt"])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"expected the name of a file|cannot be written: Not a directory"):
        replaceable(tmp_path / place if place else Path())


def test_asking_leaves_nothing(tmp_path: Path) -> None:
    replaceable(tmp_path / "new" / "file.txt")
    assert list(tmp_path.iterdir()) == []


def test_what_safetensors_meets_on_a_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "tensors.safetensors"
    with pytest.raises(FileNotFoundError, match=r"No such file or directory"), system_errors():
        save_file({"tensor": np.zeros(3)}, path)


def test_other_errors_of_safetensors_stay_what_they_are() -> None:
    with pytest.raises(SafetensorError, match="no header"), system_errors():
        raise SafetensorError("no header")
