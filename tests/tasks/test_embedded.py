"""The tasks of the package: what they hold, that they repeat, and that nothing leaks between splits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from images import assert_disjoint, split_contents
from mergeward.errors import OutputError, UsageError
from mergeward.images import ArrayImages
from mergeward.tasks import EMBEDDED, SPLIT_NAMES, Task, embedded, load_embedded, load_plain
from mergeward.tasks.embedded import digits

SIZES = {"train": 30, "adapt": 20, "validation": 20, "test": 20}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few pictures of each class instead of hundreds."""
    for name, size in SIZES.items():
        monkeypatch.setitem(embedded.SPLIT_SIZES, name, size)
    monkeypatch.setattr(embedded, "PLAIN_SIZE", 20)


def every_picture(task: Task) -> set[bytes]:
    return {picture for pictures in split_contents(task).values() for picture in pictures}


def test_there_are_six_with_ten_classes_each() -> None:
    assert set(EMBEDDED) == {"digits", "shapes", "textures", "terrain", "signs", "letters"}
    for drawing in EMBEDDED.values():
        assert len(set(drawing.class_names)) == 10
        assert all(template.count("{}") == 1 for template in drawing.templates)


def test_no_two_tasks_share_a_class_name() -> None:
    names = [name for drawing in EMBEDDED.values() for name in drawing.class_names]
    assert len(names) == len(set(names))


def test_a_whole_task_has_the_sizes_it_is_documented_with() -> None:
    task = load_embedded("letters")
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 2000,
        "adapt": 300,
        "validation": 300,
        "test": 500,
    }
    assert_disjoint(task)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", EMBEDDED)
class TestEveryTask:
    def test_pictures_are_balanced_small_and_disjoint(self, name: str) -> None:
        task = load_embedded(name)
        assert task.name == name
        for split, size in SIZES.items():
            images = task.split(split).images
            assert isinstance(images, ArrayImages)
            assert images.pixels.shape == (size, 32, 32, 3)
            assert images.pixels.dtype == np.uint8
            assert np.bincount(task.split(split).labels).tolist() == [size // 10] * 10
        assert_disjoint(task)
        assert len(every_picture(task)) == sum(SIZES.values())

    def test_pictures_of_one_class_differ_and_none_is_flat(self, name: str) -> None:
        images = load_embedded(name).split("train").images
        assert isinstance(images, ArrayImages)
        assert (images.pixels.reshape(len(images), -1).std(axis=1) > 2).all()

    def test_the_seed_decides_every_picture(self, name: str, empty_cache: Path) -> None:
        first, other = load_embedded(name, seed=0), load_embedded(name, seed=1)
        assert not every_picture(first) & every_picture(other)
        assert first.fingerprint != other.fingerprint

    def test_the_same_seed_gives_the_same_bits_drawn_or_cached(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MERGEWARD_CACHE", str(tmp_path / "first"))
        drawn = load_embedded(name).fingerprint
        monkeypatch.setenv("MERGEWARD_CACHE", str(tmp_path / "second"))
        assert load_embedded(name).fingerprint == drawn

        def draw(*_arguments: object) -> None:
            raise AssertionError("drawn although it is in the cache")

        monkeypatch.setattr(embedded, "_draw", draw)
        assert load_embedded(name).fingerprint == drawn

    def test_plain_pictures_are_others(self, name: str) -> None:
        plain, task = load_plain(name), load_embedded(name)
        assert (plain.class_names, plain.templates) == (task.class_names, task.templates)
        assert [len(plain.split(split)) for split in SPLIT_NAMES] == [20, 0, 0, 0]
        assert not every_picture(plain) & every_picture(task)


@pytest.mark.usefixtures("small")
def test_what_is_cached_is_not_taken_for_another_drawing_version(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_embedded("shapes")
    before = sorted((empty_cache / "drawings").iterdir())
    monkeypatch.setattr(embedded, "DRAWING_VERSION", embedded.DRAWING_VERSION + 1)
    load_embedded("shapes")
    assert len(sorted((empty_cache / "drawings").iterdir())) == 2 * len(before)


@pytest.mark.usefixtures("small", "empty_cache")
def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(embedded, "save_file", full)
    with pytest.raises(OutputError, match=r"cache folder .*drawings: No space left on device"):
        load_embedded("shapes")


def test_no_two_splits_share_a_handwritten_original() -> None:
    seen: dict[bytes, str] = {}
    for purpose in digits.SHARES:
        originals = digits._originals(purpose)
        assert sorted(originals) == list(range(10))
        for bitmaps in originals.values():
            assert len(bitmaps) > 0
            for bitmap in bitmaps:
                assert seen.setdefault(bitmap.tobytes(), purpose) == purpose
    assert len(seen) == 1797


@pytest.mark.parametrize("load", [load_embedded, load_plain])
def test_an_unknown_name_is_refused(load: object) -> None:
    with pytest.raises(UsageError, match="unknown embedded task 'digit'; did you mean 'digits'"):
        load("digit")  # type: ignore[operator]


PROGRAM = """
import numpy as np
from mergeward.cache import content_key
from mergeward.seeding import derived_seed, torch_generator
from mergeward.tasks import embedded
from mergeward.tasks.splits import cut_development
embedded.SPLIT_SIZES.update(train=10, adapt=10, validation=10, test=10)
print(derived_seed(7, "purpose", "name", 3))
print(torch_generator(7, "x").initial_seed())
print(content_key({"b": [1, 2.5, None], "a": {"d": "e", "c": True}}))
print(cut_development(np.arange(50), name="t", seed=3).adapt.tolist())
print([embedded.load_embedded(name, seed=5).fingerprint for name in embedded.EMBEDDED])
"""


@pytest.mark.usefixtures("small")
def test_nothing_depends_on_the_hash_seed_or_the_number_of_threads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], empty_cache: Path
) -> None:
    """The same program here and in a process of another hash seed and number of threads."""
    exec(PROGRAM, {})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "PYTHONHASHSEED": "1",
            "OMP_NUM_THREADS": str(torch.get_num_threads() + 1),
            "MERGEWARD_CACHE": str(tmp_path / "there"),
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert here == there
    assert len(here.splitlines()) == 5
