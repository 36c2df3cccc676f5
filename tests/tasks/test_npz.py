"""Task files: what a good one gives, and one line for every bad one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from images import assert_disjoint, noise, npz_arrays, split_contents, write_npz
from mergeward.errors import DataError
from mergeward.tasks import load_npz, npz

REAL = [
    "chars74k",
    "cifar10",
    "dtd10",
    "eurosat",
    "fashion_mnist",
    "flowers5",
    "gtsrb",
    "kmnist",
    "mnist",
    "notmnist",
    "omniglot_alphabets",
    "svhn",
    "tinyimagenet100",
    "usps",
]


def test_a_file_becomes_a_task(tmp_path: Path) -> None:
    arrays = {**npz_arrays(), "source": np.array("a place"), "license": np.array("CC0")}
    task = load_npz(write_npz(tmp_path / "toy.npz", arrays))
    assert (task.name, task.summary, task.licence) == ("toy", "a place", "CC0")
    assert task.class_names == ("class 0", "class 1", "class 2")
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 45,
        "adapt": 9,
        "validation": 6,
        "test": 12,
    }
    assert_disjoint(task)


def test_every_image_keeps_its_label(tmp_path: Path) -> None:
    arrays = npz_arrays()
    task = load_npz(write_npz(tmp_path / "toy.npz", arrays))
    known = {
        image.tobytes(): label
        for part in ("train", "test")
        for image, label in zip(arrays[f"{part}_x"], arrays[f"{part}_y"], strict=True)
    }
    contents = split_contents(task)
    assert sum(map(len, contents.values())) == len(known) == 72
    for name, images in contents.items():
        assert [known[image] for image in images] == task.split(name).labels.tolist()


def test_the_seed_decides_the_cut_and_nothing_else(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "toy.npz")
    first, again, other = (load_npz(path, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert split_contents(first)["test"] == split_contents(other)["test"]
    pools = [
        {image for images in split_contents(task).values() for image in images} for task in (first, other)
    ]
    assert pools[0] == pools[1]


def test_groups_stay_together(tmp_path: Path) -> None:
    groups = np.arange(60) // 4
    arrays = {**npz_arrays(), "train_group": groups}
    task = load_npz(write_npz(tmp_path / "toy.npz", arrays))
    place = {image.tobytes(): int(group) for image, group in zip(arrays["train_x"], groups, strict=True)}
    contents = split_contents(task)
    held = [{place[image] for image in contents[name]} for name in ("train", "adapt", "validation")]
    assert sum(map(len, held)) == 15


def test_a_training_image_that_is_also_a_test_image_is_left_out(tmp_path: Path) -> None:
    arrays = npz_arrays()
    arrays["train_x"][:5] = arrays["test_x"][:5]
    task = load_npz(write_npz(tmp_path / "toy.npz", arrays))
    assert_disjoint(task)
    assert sum(len(split) for split in task.splits.values()) == 72 - 5


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.pop(key)


def _with(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({key: value})


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    **{key: (_without(key), f"no array '{key}'; expected train_x") for key in npz.REQUIRED},
    "pickled images": (_with("train_x", np.array([{}] * 60)), "without pickles"),
    "pickled names": (_with("classnames", np.array(["a", "b", "c"], dtype=object)), "without pickles"),
    "float images": (
        _with("train_x", noise(60) / 255),
        r"train_x is float64 \(60, 8, 8, 3\), expected uint8",
    ),
    "gray images": (_with("test_x", noise(12)[..., 0]), r"test_x is uint8 \(12, 8, 8\), expected"),
    "alpha": (_with("test_x", np.zeros((12, 8, 8, 4), np.uint8)), r"test_x is uint8 \(12, 8, 8, 4\)"),
    "images of no size": (_with("test_x", np.zeros((12, 0, 8, 3), np.uint8)), r"test_x is uint8 \(12, 0"),
    "too few labels": (_with("train_y", np.zeros(59, int)), r"train_y is int64 \(59,\), expected 60 whole"),
    "one-hot labels": (_with("train_y", np.eye(60, dtype=int)), r"train_y is int64 \(60, 60\)"),
    "float labels": (_with("test_y", np.zeros(12)), "test_y is float64"),
    "a label too high": (_with("train_y", np.full(60, 3)), r"train_y must lie in 0\.\.2"),
    "a negative label": (_with("test_y", np.full(12, -1)), r"test_y must lie in 0\.\.2"),
    "one class": (_with("classnames", np.array(["cat"])), "1 class; a task needs at least two"),
    "one name": (_with("classnames", np.array("cat")), r"classnames is <U3 \(\), expected strings"),
    "names as bytes": (_with("classnames", np.array([b"a", b"b", b"c"])), "classnames is .S1"),
    "a name of two lines": (
        _with("classnames", np.array(["a", "b", "c\nd"])),
        r"class name 'c\\nd' must be text on one line",
    ),
    "a name twice": (_with("classnames", np.array(["a", "b", "a"])), "class name 'a' twice"),
    "groups of another length": (_with("train_group", np.zeros(3, int)), r"train_group is int64 \(3,\)"),
    "groups by name": (_with("train_group", np.array(["g"] * 60)), "train_group is <U1"),
    "one group": (_with("train_group", np.zeros(60, int)), "1 training images or groups are too few"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_of_another_form_are_refused_by_name(case: str, tmp_path: Path) -> None:
    change, message = BAD[case]
    arrays = npz_arrays()
    change(arrays)
    path = write_npz(tmp_path / "toy.npz", arrays)
    with pytest.raises(DataError, match=message) as caught:
        load_npz(path)
    assert "\n" not in str(caught.value)


def test_a_file_without_images_is_refused(tmp_path: Path) -> None:
    arrays = {**npz_arrays(), "test_x": noise(0), "test_y": np.zeros(0, int)}
    with pytest.raises(DataError, match=r"test_y must lie in .* and not be empty"):
        load_npz(write_npz(tmp_path / "toy.npz", arrays))


def _encrypted(good: bytes) -> bytes:
    """Set the flag that says so in every header of a zip file."""
    changed = bytearray(good)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.find(magic)
        while place >= 0:
            changed[place + offset] |= 1
            place = changed.find(magic, place + 4)
    return bytes(changed)


def _bare_array(_good: bytes) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def _huge_shape(_good: bytes) -> bytes:
    """An array whose header asks for more memory than there is, and whose data is a few bytes."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904, 3), }"
    header += b" " * (118 - len(header) % 128 + 10 - 1) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"abc"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for key in npz.REQUIRED:
            archive.writestr(f"{key}.npy", array)
    return stream.getvalue()


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "text": lambda good: b"train_x, train_y",
    "pickle": lambda good: b"\x80\x04}\x94.",
    "cut off": lambda good: good[: len(good) // 2],
    "damaged": lambda good: good[:300] + bytes(200) + good[500:],
    "encrypted": _encrypted,
    "one bare array": _bare_array,
    "huge shape": _huge_shape,
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_no_archive_of_arrays_is_refused(case: str, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "toy.npz")
    path.write_bytes(BROKEN[case](path.read_bytes()))
    with pytest.raises(DataError, match=r"toy.npz: not a readable .npz") as caught:
        load_npz(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.npz: no such file; expected a task as .npz"):
        load_npz(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="no such file"):
        load_npz(tmp_path)


def test_arrays_larger_than_the_bound_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "toy.npz", {**npz_arrays(), "other": np.zeros(100_000, np.uint8)})
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(npz, "MAX_BYTES", 100_000)

    def read(*_arguments: object, **_options: object) -> None:
        raise AssertionError("read before it was measured")

    monkeypatch.setattr(np, "load", read)
    with pytest.raises(DataError, match=r"toy.npz: 1\d\d\d\d\d bytes of arrays; at most 100000"):
        load_npz(path)


@pytest.mark.parametrize("name", REAL)
def test_real_files_load_without_an_image_in_two_splits(name: str, real_data: Path) -> None:
    path = real_data / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {name}.npz among the real images")
    task = load_npz(path)
    assert_disjoint(task)
    assert all(set(split.labels) <= set(range(len(task.class_names))) for split in task.splits.values())
    assert len(set(task.split("train").labels)) == len(task.class_names)
    with np.load(path) as arrays:
        assert sum(len(split) for split in task.splits.values()) == len(arrays["train_y"]) + len(
            arrays["test_y"]
        )
