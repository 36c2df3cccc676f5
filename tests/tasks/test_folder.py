"""Folders of images: the two layouts, and one line for every folder that is neither."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import assert_disjoint, noise, split_contents, write_folder
from mergeward import images
from mergeward.errors import DataError
from mergeward.images import FileImages
from mergeward.tasks import load_folder

FLAT = {"red_fox": 20, "owl": 20}
SPLIT = {"train/red_fox": 20, "train/owl": 16, "test/red_fox": 4, "test/owl": 5}


def sizes(path: Path) -> dict[str, int]:
    return {name: len(split) for name, split in load_folder(path).splits.items()}


def test_a_folder_of_classes_becomes_a_task(tmp_path: Path) -> None:
    task = load_folder(write_folder(tmp_path / "animals", FLAT))
    assert task.name == "animals"
    assert task.class_names == ("owl", "red fox")
    assert np.bincount(task.split("test").labels).tolist() == [4, 4]
    assert sizes(tmp_path / "animals") == {"train": 24, "adapt": 5, "validation": 3, "test": 8}
    assert_disjoint(task)


def test_a_folder_of_parts_becomes_a_task(tmp_path: Path) -> None:
    task = load_folder(write_folder(tmp_path / "animals", SPLIT))
    assert task.class_names == ("owl", "red fox")
    assert sizes(tmp_path / "animals") == {"train": 27, "adapt": 5, "validation": 4, "test": 9}
    assert np.bincount(task.split("test").labels).tolist() == [5, 4]
    assert_disjoint(task)


def test_validation_images_of_its_own_are_used(tmp_path: Path) -> None:
    own = {"validation/red_fox": 3, "validation/owl": 3}
    write_folder(tmp_path / "animals", {**SPLIT, **own})
    assert sizes(tmp_path / "animals") == {"train": 31, "adapt": 5, "validation": 6, "test": 9}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    task = load_folder(write_folder(tmp_path / "vehicles", {"train": 10, "bus": 10}))
    assert task.class_names == ("bus", "train")


def test_every_image_keeps_its_label(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "animals", FLAT)
    task = load_folder(path)
    known = {
        np.asarray(Image.open(file)).tobytes(): label
        for label, name in enumerate(("owl", "red_fox"))
        for file in (path / name).iterdir()
    }
    for name, contents in split_contents(task).items():
        assert [known[content] for content in contents] == task.split(name).labels.tolist()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".webp", ".jpg", ".jpeg", ".PNG", ".JPG"])
def test_formats_are_known_by_their_suffix(suffix: str, tmp_path: Path) -> None:
    task = load_folder(write_folder(tmp_path / "animals", {"a": 6, "b": 6}, suffix=suffix))
    assert sum(len(split) for split in task.splits.values()) == 12
    assert task.split("test").images.decode(0).size == (8, 8)


def test_other_and_hidden_files_are_not_read(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "animals", FLAT)
    before = load_folder(path).fingerprint
    (path / "README.md").write_text("about")
    (path / "owl" / "notes.txt").write_text("about")
    (path / "owl" / "._000.png").write_bytes(b"not an image")
    (path / ".cache").mkdir()
    assert load_folder(path).fingerprint == before


def test_a_copy_elsewhere_is_the_same_task(tmp_path: Path) -> None:
    first = load_folder(write_folder(tmp_path / "here" / "animals", FLAT))
    second = load_folder(write_folder(tmp_path / "there" / "animals", FLAT))
    assert first.fingerprint == second.fingerprint
    assert first.split("train").images.fingerprint() == second.split("train").images.fingerprint()


def test_a_relative_path_gives_the_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_folder(tmp_path / "animals", FLAT))
    assert load_folder(Path()).name == "animals"


def test_equal_files_stay_in_one_split(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "animals", FLAT)
    for index in range(15):
        (path / "owl" / f"copy{index}.png").write_bytes((path / "owl" / f"{index:03}.png").read_bytes())
    assert_disjoint(load_folder(path))


def _add(name: str, *, content: bytes | None = None) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if content is None else target.write_bytes(content)

    return change


def _link(name: str, target: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        outside = path.parent / "outside"
        outside.mkdir()
        Image.fromarray(noise(1)[0]).save(outside / "secret.png")
        (path / name).symlink_to(target)

    return change


def _nothing(_path: Path) -> None:
    pass


BAD: dict[str, tuple[dict[str, int], Callable[[Path], None], str]] = {
    "no class": ({}, _add("a.png", content=b""), "set: 0 class folders, a task needs at least two"),
    "one class": ({"owl": 5}, _nothing, "set: 1 class folders, a task needs at least two"),
    "one class in parts": ({"train/owl": 5, "test/owl": 5}, _nothing, "set: 1 class folders"),
    "an empty class": (FLAT, _add("cat"), r"set/cat: no image \(.bmp, .jpeg, .jpg, .png, .ppm, .webp\)"),
    "a class of text": (FLAT, _add("cat/a.txt", content=b""), "set/cat: no image"),
    "a class only in train": ({**SPLIT, "train/cat": 2}, _nothing, "'cat' is in only one of train and test"),
    "a class only in test": ({**SPLIT, "test/cat": 2}, _nothing, "'cat' is in only one of train and test"),
    "a part of another name": ({**SPLIT, "extra/owl": 2}, _nothing, "set/extra: neither train, validation"),
    "train alone": ({"train/owl": 5, "train/fox": 5}, _nothing, "set: 1 class folders"),
    "a name that is not shown": ({"owl": 3, "a\u00a0b": 3}, _nothing, r"class name 'a\\xa0b' must be text"),
    "equal names": ({"red_fox": 3, "red fox": 3}, _nothing, "class name 'red fox' twice"),
    "a class of one image": ({"owl": 9, "fox": 1}, _nothing, "class 'fox' has one image"),
    "a class that is a link outwards": (FLAT, _link("cat", "../outside"), "set/cat: a link out of the fold"),
    "an image that is a link outwards": (
        FLAT,
        _link("owl/x.png", "../../outside/secret.png"),
        "set/owl/x.png: a link out of the folder",
    ),
    "a link to itself": (FLAT, _link("owl/x.png", "x.png"), "set/owl/x.png: a link out of the folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_folder_of_another_form_is_refused(case: str, tmp_path: Path) -> None:
    counts, change, message = BAD[case]
    path = write_folder(tmp_path / "set", counts)
    path.mkdir(exist_ok=True)
    change(path)
    with pytest.raises(DataError, match=message) as caught:
        load_folder(path)
    assert "\n" not in str(caught.value)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", FLAT)
    (path / "owl" / "again.png").symlink_to("000.png")
    assert sum(sizes(path).values()) == 41


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing: no such folder; expected DIR/<class>"):
        load_folder(tmp_path / "nothing")


def test_a_pipe_called_png_is_not_waited_for(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", FLAT)
    os.mkfifo(path / "owl" / "x.png")
    assert sum(sizes(path).values()) == 40


def test_a_damaged_image_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", FLAT)
    file = path / "owl" / "007.png"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"set/owl/007.png: cannot be decoded as an image") as caught:
        split_contents(load_folder(path))
    assert "\n" not in str(caught.value)


def test_an_image_of_too_many_pixels_is_named_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_folder(tmp_path / "set", FLAT)
    Image.new("L", (200, 100)).save(path / "owl" / "007.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    task = load_folder(path)
    with pytest.raises(DataError, match=r"set/owl/007.png: an image of 200x100 pixels; at most 10000"):
        split_contents(task)


def test_images_are_not_kept(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", FLAT)
    content = load_folder(path).split("train").images
    assert isinstance(content, FileImages)
    content.decode(0)
    content.paths[0].unlink()
    with pytest.raises(DataError, match=f"{content.paths[0].name}: cannot be decoded"):
        content.decode(0)
