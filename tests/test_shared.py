"""A store that several machines share: what one has made, another fetches, whole or not at all."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from mergeward import cache
from mergeward.cache import artefact
from mergeward.errors import OutputError, UnsupportedError, UsageError
from mergeward.shared import SharedStore, shared_store

CONFIGURATION = {"name": "x"}


@pytest.fixture(params=["folder", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be."""
    places = {
        "folder": str(tmp_path / "shared"),
        "file": (tmp_path / "shared").as_uri(),
        "memory": f"memory://{uuid.uuid4()}",
    }
    return places[request.param]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go on as another machine: a cache of its own, and nothing remembered."""

    def go_to(name: str) -> None:
        monkeypatch.setenv("MERGEWARD_CACHE", str(tmp_path / name))
        monkeypatch.setattr(cache, "_intact", set())

    return go_to


def make(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "weights.bin").write_bytes(bytes(range(100)))
    (folder / "card.md").write_text("a card")


def refuse(folder: Path) -> None:
    raise AssertionError("made although the store has it")


def full(folder: Path) -> None:
    raise OSError(28, "No space left on device")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def blobs(place: str) -> list[str]:
    files, root = fsspec.url_to_fs(place)
    return [path for path in files.find(root) if "/blobs/" in path]


def test_what_one_machine_made_another_fetches(place: str, machine: Callable[[str], None]) -> None:
    machine("one")
    made = artefact("kind", CONFIGURATION, make, SharedStore(place))
    machine("two")
    fetched = artefact("kind", CONFIGURATION, refuse, SharedStore(place))
    assert fetched != made
    assert contents(fetched) == contents(made)


def test_what_a_machine_had_before_is_shared_too(place: str, machine: Callable[[str], None]) -> None:
    machine("one")
    artefact("kind", CONFIGURATION, make)
    artefact("kind", CONFIGURATION, refuse, SharedStore(place))
    machine("two")
    artefact("kind", CONFIGURATION, refuse, SharedStore(place))


@pytest.mark.parametrize("harm", ["flipped", "shorter", "gone"])
def test_a_damaged_file_is_told_made_again_and_replaced(
    harm: str, place: str, machine: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    machine("one")
    artefact("kind", CONFIGURATION, make, SharedStore(place))
    files, _ = fsspec.url_to_fs(place)
    (weights,) = (path for path in blobs(place) if files.cat_file(path) == bytes(range(100)))
    if harm == "gone":
        files.rm(weights)
    else:
        files.pipe_file(weights, bytes(100 if harm == "flipped" else 7))
    machine("two")
    with caplog.at_level(logging.WARNING):
        made = artefact("kind", CONFIGURATION, make, SharedStore(place))
    assert "is damaged; it is made again" in caplog.text
    machine("three")
    assert contents(artefact("kind", CONFIGURATION, refuse, SharedStore(place))) == contents(made)


@pytest.mark.parametrize(
    "listed",
    [
        b"not JSON",
        b"[1]",
        b"{}",
        json.dumps({"../escaped": "0" * 64}).encode(),
        json.dumps({"/escaped": "0" * 64}).encode(),
        json.dumps({"card.md": "../../kind/x.json"}).encode(),
    ],
    ids=["no JSON", "a list", "empty", "out of the folder", "absolute", "no hash"],
)
def test_a_list_that_is_none_is_not_followed(
    listed: bytes, place: str, machine: Callable[[str], None], tmp_path: Path
) -> None:
    machine("one")
    made = artefact("kind", CONFIGURATION, make, SharedStore(place))
    files, root = fsspec.url_to_fs(place)
    files.pipe_file(f"{root}/kind/{made.name}.json", listed)
    machine("two")
    assert contents(artefact("kind", CONFIGURATION, make, SharedStore(place))) == contents(made)
    assert not list(tmp_path.rglob("escaped"))
    machine("three")
    artefact("kind", CONFIGURATION, refuse, SharedStore(place))


def test_an_upload_that_was_killed_is_no_artefact(
    place: str, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one")
    store = SharedStore(place)
    put, sent = store._put, list[str]()

    def killed(source: Path, target: str) -> None:
        if sent:
            raise KeyboardInterrupt
        sent.append(target)
        put(source, target)

    monkeypatch.setattr(store, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        artefact("kind", CONFIGURATION, make, store)
    assert len(blobs(place)) == 1
    artefact("kind", CONFIGURATION, refuse, SharedStore(place))  # this machine has it, and now shares it
    machine("two")
    artefact("kind", CONFIGURATION, refuse, SharedStore(place))


def test_nothing_is_asked_twice(
    place: str, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one")
    store = SharedStore(place)
    artefact("kind", CONFIGURATION, make, store)
    monkeypatch.setattr(store, "_files", None)
    artefact("kind", CONFIGURATION, refuse, store)


def test_a_store_that_cannot_be_written_is_named_and_the_artefact_kept(
    machine: Callable[[str], None], tmp_path: Path
) -> None:
    machine("one")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "blobs").write_text("not a folder")
    with pytest.raises(OutputError, match=f"store {shared.as_uri()}: FileExistsError: ") as caught:
        artefact("kind", CONFIGURATION, make, SharedStore(str(shared)))
    assert "\n" not in str(caught.value)
    artefact("kind", CONFIGURATION, refuse)


def test_what_cannot_be_made_is_not_shared(place: str, machine: Callable[[str], None]) -> None:
    machine("one")
    with pytest.raises(OutputError, match="No space left on device"):
        artefact("kind", CONFIGURATION, full, SharedStore(place))
    assert blobs(place) == []


def test_a_place_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="store nowhere://x: expected a folder or a URL of fsspec"):
        SharedStore("nowhere://x")


@pytest.mark.parametrize("module", ["fsspec", "s3fs"])
def test_without_its_package_it_says_which_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=r"mergeward\[remote\]|s3fs"):
        SharedStore("s3://bucket/prefix")


def test_a_relative_folder_is_the_same_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = SharedStore("shared").url
    assert url == (tmp_path / "shared").as_uri()
    assert shared_store(url) is shared_store(url)
