"""The charts of a run as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from invented_run import a_run
from mergeward.errors import OutputError
from mergeward.report import write_figures


def test_every_chart_is_a_picture_and_a_page(tmp_path: Path) -> None:
    files = write_figures([a_run()], tmp_path / "figures")
    assert {path.suffix for path in files} == {".pdf", ".png"}
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert len(picture.convert("L").getcolors() or []) > 10  # something is drawn
        else:
            assert content.startswith(b"%PDF")


def test_equal_runs_are_equal_files(tmp_path: Path) -> None:
    first, second = (write_figures([a_run()], tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()
    with pytest.raises(OutputError, match="exists"):
        write_figures([a_run()], tmp_path)
