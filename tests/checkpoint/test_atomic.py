"""A folder is there whole or not at all."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from mergeward.checkpoint import atomic_directory, interrupted, vacant
from mergeward.checkpoint.atomic import FINGERPRINT, resumable_directory
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


@pytest.mark.parametrize("place", ["file/out", "file/deep/out"])
def test_where_no_folder_can_be_made_is_told_before_the_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=f"{place}: Not a directory"):
        vacant(tmp_path / place)


def test_asking_for_room_leaves_nothing(tmp_path: Path) -> None:
    assert vacant(tmp_path / "new" / "out") == (tmp_path / "new" / "out").resolve()
    assert list(tmp_path.iterdir()) == []


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


def make(out: Path, fingerprint: str, *, resume: bool, error: type[BaseException] | None = None) -> list[str]:
    """Make a folder that can be gone on with; return what an earlier run left."""
    with resumable_directory(out, fingerprint, resume=resume) as scratch:
        left = sorted(path.name for path in scratch.iterdir() if path.name != FINGERPRINT)
        (scratch / f"file{len(left)}").write_text("content")
        if error is not None:
            raise error
    return left


def test_an_interruption_leaves_what_another_run_goes_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make(out, "same", resume=False, error=KeyboardInterrupt)
    assert interrupted(out)
    assert [path.name for path in tmp_path.iterdir()] == [".out.interrupted"]
    assert make(out, "same", resume=True) == ["file0"]
    assert sorted(path.name for path in out.iterdir()) == ["file0", "file1"]
    assert not interrupted(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_resuming_a_run_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "first", resume=False, error=KeyboardInterrupt)
    assert make(tmp_path / "out", "second", resume=False) == []


def test_there_may_be_nothing_to_go_on_with(tmp_path: Path) -> None:
    assert make(tmp_path / "out", "same", resume=True) == []


def test_only_the_same_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", "first", resume=False, error=KeyboardInterrupt)
    with pytest.raises(OutputError, match=r"out: \.out\.interrupted is left of a run with other inputs"):
        make(tmp_path / "out", "second", resume=True)
    assert make(tmp_path / "out", "first", resume=True) == ["file0"]


def test_a_run_stopped_before_it_was_named_left_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.interrupted").mkdir()
    (tmp_path / ".out.interrupted" / "file").write_text("unknown")
    assert make(tmp_path / "out", "same", resume=True) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file0"]


def test_an_error_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        make(tmp_path / "out", "same", resume=False, error=ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_by_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with resumable_directory(out, "same", resume=False) as scratch:
        (scratch / "file").write_text("first")
        for resume in (False, True):
            with pytest.raises(OutputError, match="out: another process is writing it"):
                make(out, "same", resume=resume)
    assert [path.name for path in out.iterdir()] == ["file"]


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "out", "same", resume=False)
    for resume in (False, True):
        with pytest.raises(OutputError, match="out: exists and is not empty"):
            make(tmp_path / "out", "same", resume=resume)
