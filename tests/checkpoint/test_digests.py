"""Hashes that are remembered are those of the file as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from mergeward.checkpoint import digests
from mergeward.checkpoint.digests import file_sha256
from mergeward.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large and as settled."""
    monkeypatch.setattr(digests, "REMEMBERED_BYTES", 4)
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    path = tmp_path / "weights"
    path.write_bytes(b"first content")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_again(monkeypatch: pytest.MonkeyPatch, path: Path) -> bool:
    """Whether the file is read in order to hash it."""
    reads = []
    original = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: reads.append(1) or original(*given))
    assert file_sha256(path) == sha256(path)
    monkeypatch.setattr(hashlib, "file_digest", original)
    return bool(reads)


def test_an_unchanged_file_is_read_once(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_again(monkeypatch, weights)
    assert not read_again(monkeypatch, weights)


def test_a_changed_file_is_read_again_though_its_size_and_time_are_put_back(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights.stat()
    file_sha256(weights)
    weights.write_bytes(b"other content")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_mtime_ns == before.st_mtime_ns
    assert read_again(monkeypatch, weights)


def test_a_file_of_the_same_name_in_another_place_is_another(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_sha256(weights)
    (tmp_path / "copy").write_bytes(weights.read_bytes())
    assert read_again(monkeypatch, tmp_path / "copy")


@pytest.mark.parametrize(("name", "value"), [("REMEMBERED_BYTES", 1000), ("SETTLED_NS", 10**18)])
def test_small_and_fresh_files_leave_no_note(
    weights: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path, name: str, value: int
) -> None:
    monkeypatch.setattr(digests, name, value)
    file_sha256(weights)
    assert not empty_cache.exists()


def test_a_damaged_note_is_not_believed(
    weights: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    file_sha256(weights)
    (note,) = (empty_cache / "digest").iterdir()
    note.write_text("ab")
    assert read_again(monkeypatch, weights)


def test_a_store_that_cannot_be_written_costs_nothing_but_time(
    weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MERGEWARD_CACHE", str(tmp_path / "file"))
    assert file_sha256(weights) == sha256(weights)


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none: No such file"):
        file_sha256(tmp_path / "none")
