"""An artefact is made once, whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mergeward import cache
from mergeward.cache import artefact, cache_root, content_key
from mergeward.errors import OutputError

CONFIGURATION = {"name": "x", "seed": 3}


def writer(text: str = "made") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "content.txt").write_text(text)

    return make


def refuse(_folder: Path) -> None:
    raise AssertionError("made although it is in the store")


def folders(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_dir()]


def test_an_artefact_is_made_once(empty_cache: Path) -> None:
    first = artefact("kind", CONFIGURATION, writer())
    second = artefact("kind", dict(reversed(CONFIGURATION.items())), refuse)
    assert first == second
    assert (first / "content.txt").read_text() == "made"
    assert first.is_relative_to(empty_cache / "kind")


def test_it_says_what_it_was_made_from(empty_cache: Path) -> None:
    made = artefact("kind", CONFIGURATION, writer())
    assert '"seed": 3' in (made / "configuration.json").read_text()


def test_other_kinds_and_configurations_are_others(empty_cache: Path) -> None:
    places = {
        artefact("kind", CONFIGURATION, writer()),
        artefact("other", CONFIGURATION, writer()),
        artefact("kind", {**CONFIGURATION, "seed": 4}, writer()),
        artefact("kind", {**CONFIGURATION, "seed": "3"}, writer()),
    }
    assert len(places) == 4


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_an_interrupted_one_leaves_nothing(error: BaseException, empty_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        artefact("kind", CONFIGURATION, fail)
    assert folders(empty_cache) == [empty_cache / "kind"]
    assert (artefact("kind", CONFIGURATION, writer()) / "content.txt").read_text() == "made"


def test_threads_that_ask_for_the_same_make_it_once(empty_cache: Path) -> None:
    made: list[int] = []
    places: list[Path] = []
    together = threading.Barrier(4)

    def make(folder: Path) -> None:
        made.append(1)
        writer()(folder)

    def ask() -> None:
        together.wait()
        places.append(artefact("kind", CONFIGURATION, make))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert len(places) == 4
    assert len(set(places)) == 1


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MERGEWARD_CACHE", str(blocked))
    with pytest.raises(OutputError, match=f"cache folder {blocked}/kind: ") as caught:
        artefact("kind", CONFIGURATION, writer())
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_named(empty_cache: Path) -> None:
    def full(_folder: Path) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(OutputError, match=r"cache folder .*kind: No space left on device"):
        artefact("kind", CONFIGURATION, full)
    assert folders(empty_cache) == [empty_cache / "kind"]


def test_what_its_making_met_is_not_put_on_the_store(empty_cache: Path) -> None:
    def search(_folder: Path) -> None:
        Path("nowhere").read_text()

    with pytest.raises(FileNotFoundError, match="nowhere"):
        artefact("kind", CONFIGURATION, search)
    assert folders(empty_cache) == [empty_cache / "kind"]


@pytest.mark.parametrize("harm", ["changed", "gone", "more", "hashes gone"])
def test_a_damaged_one_is_told_and_made_again(
    harm: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = artefact("kind", CONFIGURATION, writer()) / "content.txt"
    if harm == "gone":
        file.unlink()
    elif harm == "hashes gone":
        file.with_name("contents.json").unlink()
        file.write_text("mode")
    else:
        (file if harm == "changed" else file.with_name("other.txt")).write_text("mode")
    monkeypatch.setattr(cache, "_intact", set())  # as another process
    with caplog.at_level(logging.WARNING):
        again = artefact("kind", CONFIGURATION, writer())
    assert f"{again} is damaged; it is made again" in caplog.text
    assert (again / "content.txt").read_text() == "made"
    assert not (again / "other.txt").exists()


def test_a_store_that_can_only_be_read_gives_what_it_has(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = artefact("kind", CONFIGURATION, writer())
    monkeypatch.setattr(cache, "_intact", set())

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for step in ("mergeward.cache.FileLock", "tempfile.mkdtemp", "pathlib.Path.mkdir"):
        monkeypatch.setattr(step, read_only)
    assert artefact("kind", CONFIGURATION, refuse) == made
    with pytest.raises(OutputError, match=r"cache folder .*kind: Read-only file system"):
        artefact("kind", {**CONFIGURATION, "seed": 4}, refuse)


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEWARD_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    monkeypatch.setenv("HOME", "/three")
    assert cache_root() == Path("/one")
    monkeypatch.setenv("MERGEWARD_CACHE", "")
    assert cache_root() == Path("/two/mergeward")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path("/three/.cache/mergeward")


def test_keys_are_of_content_and_the_same_for_ever() -> None:
    assert content_key({"b": [1, 2.5, None], "a": {"d": "é", "c": True}}) == content_key(
        {"a": {"c": True, "d": "é"}, "b": [1, 2.5, None]}
    )
    assert content_key({}) == "44136fa355b3678a1146ad16"
