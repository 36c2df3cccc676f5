"""Hugging Face datasets, from folders on disk; nothing here reaches a network."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from images import assert_disjoint, noise, split_contents, write_folder
from mergeward.errors import DataError, UnsupportedError
from mergeward.images import Pixels
from mergeward.tasks import Task, load_hub, load_task
from mergeward.tasks.hub import HubImages
from mergeward.tasks.published import PUBLISHED
from mergeward.tasks.task import DEFAULT_TEMPLATES
from stand_in_hub import parquet_dataset, publish

NAMES = ["red_fox", "owl", "cat"]
FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)


def png(pixels: Pixels) -> dict[str, Any]:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return {"bytes": stream.getvalue(), "path": None}


def rows(count: int, seed: int, **columns: list[Any]) -> dict[str, list[Any]]:
    return {
        "label": [index % 3 for index in range(count)],
        "image": [png(pixels) for pixels in noise(count, seed=seed)],
        **columns,
    }


def dataset(content: Mapping[str, list[Any]], **features: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(dict(content), features=datasets.Features({**FEATURES, **features}))


def save(path: Path, **parts: datasets.Dataset) -> str:
    datasets.DatasetDict(parts).save_to_disk(path)
    return str(path)


def sizes(task: Task) -> dict[str, int]:
    return {name: len(split) for name, split in task.splits.items()}


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return save(tmp_path / "toy", train=dataset(rows(60, 1)), test=dataset(rows(12, 2)))


def test_a_saved_dataset_becomes_a_task(saved: str) -> None:
    task = load_hub(saved)
    assert task.name == "toy"
    assert task.class_names == ("red fox", "owl", "cat")
    assert sizes(task) == {"train": 45, "adapt": 9, "validation": 6, "test": 12}
    assert_disjoint(task)


def test_every_image_keeps_its_label(saved: str) -> None:
    known = {
        pixels.tobytes(): index % 3
        for count, seed in ((60, 1), (12, 2))
        for index, pixels in enumerate(noise(count, seed=seed))
    }
    task = load_hub(saved)
    for name, contents in split_contents(task).items():
        assert [known[content] for content in contents] == task.split(name).labels.tolist()


def test_a_dataset_of_parquet_files_becomes_a_task(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "data"
    folder.mkdir(parents=True)
    dataset(rows(60, 1)).to_parquet(folder / "train-00000-of-00001.parquet")
    dataset(rows(12, 2)).to_parquet(folder / "test-00000-of-00001.parquet")
    task = load_task(f"hf:{tmp_path / 'toy'}")
    assert task.class_names == ("red fox", "owl", "cat")
    assert sizes(task) == {"train": 45, "adapt": 9, "validation": 6, "test": 12}
    assert_disjoint(task)


def test_a_folder_of_images_becomes_a_task(tmp_path: Path) -> None:
    counts = {"train/owl": 20, "train/red_fox": 20, "test/owl": 4, "test/red_fox": 4}
    task = load_hub(str(write_folder(tmp_path / "toy", counts)))
    assert task.class_names == ("owl", "red fox")
    assert sizes(task) == {"train": 30, "adapt": 6, "validation": 4, "test": 8}
    assert_disjoint(task)


def test_splits_it_has_are_used_and_others_are_cut(tmp_path: Path) -> None:
    train, validation, test = (dataset(rows(count, seed)) for count, seed in ((60, 1), (9, 2), (12, 3)))
    three = load_hub(save(tmp_path / "three", train=train, validation=validation, test=test))
    assert sizes(three) == {"train": 51, "adapt": 9, "validation": 9, "test": 12}
    no_test = load_hub(save(tmp_path / "no_test", train=train, validation=validation))
    assert sizes(no_test) == {"train": 41, "adapt": 7, "validation": 9, "test": 12}
    train.save_to_disk(tmp_path / "one")
    one = load_hub(str(tmp_path / "one"))
    assert sizes(one) == {"train": 36, "adapt": 7, "validation": 5, "test": 12}
    for task in (three, no_test, one):
        assert_disjoint(task)


def test_the_seed_decides_the_cut(saved: str) -> None:
    first, again, other = (load_hub(saved, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_columns_are_found_by_their_type(tmp_path: Path) -> None:
    train = dataset(rows(60, 1, caption=["x"] * 60), caption=datasets.Value("string"))
    train = train.rename_columns({"image": "img", "label": "kind"})
    test = train.select(range(6))
    assert sizes(load_hub(save(tmp_path / "toy", train=train, test=test)))["test"] == 6


def test_images_are_decoded_when_asked_for_and_not_kept(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    real = HubImages.decode

    def counted(self: HubImages, index: int) -> Image.Image:
        decoded.append(index)
        return real(self, index)

    monkeypatch.setattr(HubImages, "decode", counted)
    images = load_hub(saved).split("test").images
    assert decoded == []
    first, second = images.decode(3), images.decode(3)
    assert decoded == [3, 3]
    assert first is not second
    assert first.tobytes() == second.tobytes() == noise(12, seed=2)[3].tobytes()


def test_a_damaged_image_is_named_by_its_row(tmp_path: Path) -> None:
    content = rows(60, 1)
    content["image"][17] = {"bytes": b"\x89PNG but not really", "path": None}
    task = load_hub(save(tmp_path / "toy", train=dataset(content), test=dataset(rows(6, 2))))
    with pytest.raises(DataError, match="row 17: cannot be decoded as an image") as caught:
        split_contents(task)
    assert "\n" not in str(caught.value)


def test_a_row_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.fromarray(noise(1)[0]).save(secret)
    content = rows(60, 1)
    content["image"][5] = {"bytes": None, "path": str(secret)}
    folder = tmp_path / "toy"
    folder.mkdir()
    parquet.write_table(dataset(content).data.table, folder / "train.parquet")  # `datasets` would embed it
    with pytest.raises(DataError, match=r"row 5: image file .*secret.png lies outside the dataset"):
        load_hub(str(folder))


def _no_train(path: Path) -> str:
    return save(path, test=dataset(rows(6, 1)))


def _two_labels(path: Path) -> str:
    train = dataset(rows(60, 1, coarse=[0] * 60), coarse=datasets.ClassLabel(names=["a", "b"]))
    return save(path, train=train)


def _no_label(path: Path) -> str:
    return save(path, train=dataset(rows(60, 1)).remove_columns("label"))


def _no_image(path: Path) -> str:
    return save(path, train=dataset(rows(60, 1)).remove_columns("image"))


def _other_classes(path: Path) -> str:
    test = dataset(rows(6, 2), label=datasets.ClassLabel(names=["x", "y", "z"]))
    return save(path, train=dataset(rows(60, 1)), test=test)


def _unlabelled(path: Path) -> str:
    return save(path, train=dataset(rows(60, 1)), test=dataset(rows(6, 2, label=[-1] * 6)))


def _empty_row(path: Path) -> str:
    content = rows(60, 1)
    content["image"][3] = None
    return save(path, train=dataset(content), test=dataset(rows(6, 2)))


def _one_class(path: Path) -> str:
    only = {"label": datasets.ClassLabel(names=["owl"])}
    return save(path, train=dataset(rows(9, 1, label=[0] * 9), **only))


def _script(path: Path) -> str:
    """A dataset that comes with code, which must not run."""
    path.mkdir()
    (path / "toy.py").write_text(f"open({str(path / 'ran')!r}, 'w')\n")
    return str(path)


def _no_state(path: Path) -> str:
    path.mkdir()
    (path / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    return str(path)


def _missing(path: Path) -> str:
    return str(path)


BAD = {
    _no_train: "no split 'train'; found test",
    _two_labels: "expected one column of type ClassLabel, found label, coarse",
    _no_label: "expected one column of type ClassLabel, found none",
    _no_image: "expected one column of type Image, found none",
    _other_classes: "split 'test' has other columns or classes than 'train'",
    _unlabelled: "toy test: images without a label",
    _empty_row: "row 3: no image",
    _one_class: "1 class; a task needs at least two",
    _script: "not a dataset that can be loaded",
    _no_state: "not a dataset that can be loaded",
    _missing: "not a dataset that can be loaded",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__.strip("_"))
def test_a_dataset_of_another_form_is_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=BAD[make]) as caught:
        load_hub(make(tmp_path / "toy"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "toy" / "ran").exists()


def test_a_hub_id_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(DataError, match="hf:nobody/nothing: not a dataset that can be loaded"):
        load_task("hf:nobody/nothing")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    return root


def test_a_dataset_of_the_hub_becomes_a_task_and_its_code_is_not_run(hub: Path, tmp_path: Path) -> None:
    publish(hub, "dataset", "somebody/toy", parquet_dataset(tmp_path / "toy", seed=1))
    task = load_task("hf:somebody/toy")
    assert (task.name, task.class_names) == ("toy", ("red fox", "owl", "cat"))
    assert task.templates == DEFAULT_TEMPLATES
    assert sizes(task) == {"train": 27, "adapt": 5, "validation": 4, "test": 12}
    assert_disjoint(task)


def test_a_revision_can_be_asked_for(hub: Path, tmp_path: Path) -> None:
    old, new = (
        publish(hub, "dataset", "somebody/toy", parquet_dataset(tmp_path / "toy", seed=seed))
        for seed in (1, 2)
    )
    newest, pinned, former = (
        load_hub(f"somebody/toy{revision}").fingerprint for revision in ("", f"@{new.name}", f"@{old.name}")
    )
    assert newest == pinned != former
    with pytest.raises(DataError, match="hf:somebody/toy@other: not a dataset that can be loaded"):
        load_hub("somebody/toy@other")


def test_what_is_known_of_a_published_dataset_is_used(hub: Path, tmp_path: Path) -> None:
    folder = parquet_dataset(tmp_path / "cifar100", seed=1, inside="cifar100", label="fine_label")
    (folder / "other").mkdir()
    (folder / "other" / "train-00000-of-00001.parquet").write_text("of another configuration")
    publish(hub, "dataset", "uoft-cs/cifar100", folder)
    task = load_task("hf:uoft-cs/cifar100")
    assert (task.name, task.class_names) == ("cifar100", ("red fox", "owl", "cat"))
    assert "a blurry photo of the {}." in task.templates


def test_what_is_fetched_is_what_is_needed_and_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append(options | {"name": name})
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    svhn = "ufldl-stanford/svhn"
    for spec in ("somebody/toy", "ylecun/mnist@v1", svhn):
        with pytest.raises(DataError, match=r"\(no network here\)"):
            load_hub(spec)
    parts = "{0}/train* {0}/validation* {0}/test*".format
    common = {"repo_type": "dataset", "ignore_patterns": "*.py"}
    assert asked == [
        {**common, "name": "somebody/toy", "revision": None, "allow_patterns": None},
        {**common, "name": "ylecun/mnist", "revision": "v1", "allow_patterns": parts("mnist").split()},
        {
            **common,
            "name": svhn,
            "revision": PUBLISHED[svhn].revision,
            "allow_patterns": parts("cropped_digits").split(),
        },
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sentences_of_published_datasets_have_one_place(name: str) -> None:
    known = PUBLISHED[name]
    assert len(set(known.templates)) == len(known.templates)
    for template in known.templates:
        assert template.format("cat").count("cat") == 1
        assert "  " not in template


def test_without_the_extra_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'mergeward\[datasets\]'"):
        load_task("hf:nobody/nothing")


def test_rows_follow_their_selection(saved: str) -> None:
    images = load_hub(saved).split("test").images
    assert isinstance(images, HubImages)
    chosen = images.select(np.array([4, 1]))
    assert [chosen.decode(index).tobytes() for index in range(2)] == [
        images.decode(index).tobytes() for index in (4, 1)
    ]
    assert chosen.digests() == (images.digests()[4], images.digests()[1])
    assert chosen.fingerprint() != images.fingerprint()
