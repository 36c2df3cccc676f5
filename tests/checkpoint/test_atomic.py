"""A folder is there whole or not at all."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from mergeward.checkpoint import atomic_directory
from mergeward.errors import OutputError


def fill(out: Path) -> None:
    with atomic_directory(out) as scratch:
        (scratch / "inner").mkdir()
        (scratch / "inner" / "file").write_text("content")


def test_it_appears_with_everything_in_it(tmp_path: Path) -> None:
    fill(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out" / "inner" / "file").read_text() == "content"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_it_is_not_there_before_the_block_ends(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out") as scratch:
        assert scratch.name.startswith(".")
        assert not (tmp_path / "out").exists()


def test_it_may_take_the_place_of_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    assert (tmp_path / "out" / "inner" / "file").is_file()


def test_it_is_as_open_to_others_as_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    fill(tmp_path / "out")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out")}
    assert len(modes) == 1


def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    fill(tmp_path / "out")
    assert (tmp_path / "real" / "inner" / "file").is_file()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def stop_midway() -> None:
        with atomic_directory(tmp_path / "out") as scratch:
            (scratch / "file").write_text("half")
            raise error

    with pytest.raises(error):
        stop_midway()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    with pytest.raises(OutputError, match="out: exists and is not empty"):
        fill(tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_a_file_in_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="out: exists and is not a folder"):
        fill(tmp_path / "out")


def test_a_folder_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    def be_overtaken() -> None:
        with atomic_directory(tmp_path / "out") as scratch:
            (scratch / "file").write_text("ours")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine").write_text("precious")

    with pytest.raises(OutputError, match="out: "):
        be_overtaken()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out: Not a directory"):
        fill(tmp_path / "file" / "out")


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out: No space left on device"), atomic_directory(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_errors_about_other_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "out"):
        (tmp_path / "input").read_text()
