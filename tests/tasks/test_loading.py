"""What a task is named by, and what is said of names that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import write_folder, write_npz
from mergeward.errors import DataError, UsageError
from mergeward.tasks import EMBEDDED, check_task, embedded, load_task, task_names

FOLDER = {"owl": 10, "fox": 10}


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in embedded.SPLIT_SIZES:
        monkeypatch.setitem(embedded.SPLIT_SIZES, name, 10)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_npz(folder / "toy.npz")
    write_npz(folder / "shapes.npz")
    write_folder(folder / "animals", FOLDER)
    (folder / "README.md").write_text("about")
    write_npz(tmp_path / "outside.npz")
    return folder


def test_an_embedded_task_is_found_by_name(data: Path) -> None:
    assert load_task("digits").class_names[0] == "digit zero"
    assert load_task("digits", data=data).class_names[0] == "digit zero"


def test_that_there_is_a_task_is_found_without_an_image(data: Path) -> None:
    for path in (data / "toy.npz", data / "animals" / "owl"):
        (path if path.is_file() else next(path.iterdir())).write_bytes(b"no image")
    for spec in ("digits", "toy", "animals", data / "toy.npz", "hf:nobody/nothing"):
        check_task(spec, data=data)
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        check_task("tooy", data=data)
    with pytest.raises(DataError, match="no such file"):
        check_task(data / "gone.npz")


def test_the_seed_reaches_the_task(data: Path) -> None:
    for spec in ("digits", "toy", "animals"):
        first, other = (load_task(spec, data=data, seed=seed).fingerprint for seed in (0, 1))
        assert first != other


def test_files_and_folders_are_found_by_name(data: Path) -> None:
    assert load_task("toy", data=data).class_names == ("class 0", "class 1", "class 2")
    assert load_task("animals", data=data).class_names == ("fox", "owl")


def test_a_file_goes_before_an_embedded_task_of_its_name(data: Path) -> None:
    assert load_task("shapes", data=data).class_names[0] == "class 0"
    assert load_task("shapes").class_names[0] != "class 0"


def test_paths_are_found_with_and_without_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    for spec in (
        data / "toy.npz",
        str(data / "toy.npz"),
        "toy.npz",
        "./toy.npz",
        Path("toy.npz"),
        "../data/toy.npz",
    ):
        assert load_task(spec).name == "toy"
        assert load_task(spec, data=data.parent).name == "toy"
    assert load_task("./animals").name == load_task(Path("animals")).name == "animals"


@pytest.mark.parametrize("spec", ["../outside", "../outside.npz", "x/../../outside.npz", "..", "."])
def test_a_name_does_not_lead_out_of_data(
    spec: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a path from where the program runs, and never one from within the folder."""
    empty = tmp_path / "deep" / "empty"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    with pytest.raises(DataError):
        load_task(spec, data=data)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "unknown task 'digit'; did you mean 'digits'"),
        ("animal", "unknown task 'animal'; did you mean 'animals'"),
        ("TOY", "unknown task 'TOY'; did you mean 'toy'"),
        ("zzz", "unknown task 'zzz'; known: animals, digits, .*textures, toy"),
        ("", "unknown task ''; known"),
        ("a\0b", "unknown task"),
        ("~", "unknown task"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_exist(spec: str, message: str, data: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_task(spec, data=data)


def test_names_of_files_are_known_only_with_their_folder() -> None:
    with pytest.raises(UsageError, match=f"known: {', '.join(sorted(EMBEDDED))}$"):
        load_task("zzz")


@pytest.mark.parametrize("spec", ["./nothing", "nothing.npz", "a/b", "/nothing", Path("nothing")], ids=str)
def test_a_path_to_nothing_is_refused(spec: str | Path, data: Path) -> None:
    with pytest.raises(
        DataError, match=r"(nothing|a/b).*: no such file or folder; expected a task as .npz or as"
    ):
        load_task(spec, data=data)


def test_a_file_of_another_kind_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match=r"README.md: not a readable .npz"):
        load_task(data / "README.md")


def test_data_that_is_no_folder_is_refused(data: Path) -> None:
    for place in (data / "nothing", data / "toy.npz"):
        with pytest.raises(DataError, match=f"{place.name}: no such folder; expected one that holds tasks"):
            load_task("toy", data=place)
        with pytest.raises(DataError, match="no such folder"):
            task_names(place)


def test_the_names_are_those_that_load(data: Path) -> None:
    assert task_names(data) == ["animals", "shapes", "toy"]
    assert task_names() == list(EMBEDDED)
    for name in (*task_names(data), *task_names()):
        assert load_task(name, data=data).name == name
