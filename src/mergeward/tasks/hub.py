"""Tasks from Hugging Face datasets: a folder on disk, or a hub id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from huggingface_hub import constants
from PIL import Image

from mergeward.cache import cache_root
from mergeward.errors import DataError, missing_extra
from mergeward.images import Rows, decode_image, joint_hash
from mergeward.progress import track
from mergeward.tasks.published import PUBLISHED, Published
from mergeward.tasks.splits import Part, make_splits
from mergeward.tasks.task import Labels, Task, checked_class_names

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")
CODE = "*.py"
"""What is never fetched with a dataset."""

# What `datasets` raises, besides its own errors, on folders and files that it cannot make a dataset of.
_UNLOADABLE = (LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class HubImages:
    """Images of a Hugging Face dataset, read and decoded one at a time.

    Attributes:
        name: What to call them in an error.
        dataset: Rows whose image column is not decoded.
        column: Name of the image column.
        roots: Folders that image files may lie in, where the dataset names files instead of holding them.
        rows: int64 `[N]`, the rows of the dataset, in the order of the labels.
        hashes: SHA-256 of each image's encoded bytes.
    """

    name: str
    dataset: Dataset = field(repr=False)
    column: str
    roots: tuple[Path, ...]
    rows: Rows = field(repr=False)
    hashes: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, name: str, dataset: Dataset, column: str, roots: tuple[Path, ...]) -> HubImages:
        """Read every image's bytes once, for its hash; `DataError` when one cannot be read."""
        rows = np.arange(len(dataset))
        unhashed = cls(name, dataset, column, roots, rows, ())
        hashes = tuple(
            hashlib.sha256(unhashed.encoded(index)).hexdigest()
            for index in track(range(len(rows)), f"read {name}")
        )
        return cls(name, dataset, column, roots, rows, hashes)

    def __len__(self) -> int:
        return len(self.rows)

    def encoded(self, index: int) -> bytes:
        """Return one image's file content; `DataError` when there is none or it lies outside the dataset."""
        row = int(self.rows[index])
        content: Mapping[str, Any] = self.dataset[row][self.column] or {}
        if content.get("bytes") is not None:
            return bytes(content["bytes"])
        if not content.get("path"):
            raise DataError(f"{self._name(index)}: no image")
        path = Path(content["path"]).resolve()
        if not any(path.is_relative_to(root) for root in self.roots):
            raise DataError(f"{self._name(index)}: image file {path} lies outside the dataset")
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    def decode(self, index: int) -> Image.Image:
        """Return one image as RGB; `DataError`, which names the row, when it cannot be decoded."""
        return decode_image(BytesIO(self.encoded(index)), name=self._name(index))

    def fingerprint(self) -> str:
        """Return a hash of the images' encoded bytes."""
        return joint_hash(self.hashes)

    def digests(self) -> tuple[str, ...]:
        """Return the hash of each image."""
        return self.hashes

    def select(self, rows: Rows) -> HubImages:
        """Return some of the images."""
        hashes = tuple(self.hashes[row] for row in rows)
        return HubImages(self.name, self.dataset, self.column, self.roots, self.rows[rows], hashes)

    def _name(self, index: int) -> str:
        return f"{self.name} {self.dataset.split}, row {self.rows[index]}"


def load_hub(source: str, *, seed: int = 0) -> Task:
    """Load a task from a Hugging Face dataset of labelled images; no code that comes with it is ever run.

    The image and the label column are found by their type (`Image` and `ClassLabel`; one of each). The split
    `train` must be there; `validation` and `test` are used where they are, and cut from train where not.
    A dataset of the hub is fetched into, or found in, the hub's own cache, without its code.

    Args:
        source: Folder of a dataset (saved by `datasets`, or of parquet files or images that it understands),
            or a hub id, with `@` and a revision where it shall be that one. Its last part is the task's name.
        seed: Seed of the cuts.

    Raises:
        UnsupportedError: The extra `datasets` is not installed.
        DataError: There is no such dataset, or it is of another form.
    """
    place = _place(source)
    parts = _load(source, place.find)
    if "train" not in parts:
        raise DataError(f"hf:{source}: no split 'train'; found {', '.join(sorted(parts))}")
    column, label_column = _columns(source, parts["train"], place.known.label)
    features = parts["train"].features
    class_names = checked_class_names(
        (name.replace("_", " ") for name in features[label_column].names), where=f"hf:{source}"
    )
    for key, part in parts.items():
        if any(part.features.get(needed) != features[needed] for needed in (column, label_column)):
            raise DataError(f"hf:{source}: split {key!r} has other columns or classes than 'train'")
    made = {
        key: Part(
            HubImages.of(place.name, _undecoded(parts[key], column), column, place.roots),
            _labels(f"hf:{source} {key}", parts[key][label_column]),
        )
        for key in PARTS
        if key in parts
    }
    return Task(
        name=place.name,
        class_names=class_names,
        splits=make_splits(**made, name=place.name, class_names=class_names, seed=seed),
        templates=place.known.templates,
        licence=parts["train"].info.license,
    )


@dataclass(frozen=True)
class _Place:
    """Where a dataset is, and what is known of it before it is opened."""

    name: str
    known: Published
    roots: tuple[Path, ...]
    find: Callable[[], Path]


def _place(source: str) -> _Place:
    local = Path(source)
    if local.exists():
        return _Place(local.resolve().name, Published(), (local.resolve(),), lambda: local)
    hub_id, _, revision = source.partition("@")
    known = PUBLISHED.get(hub_id, Published())
    roots = tuple(folder.resolve() for folder in (Path(constants.HF_HUB_CACHE), cache_root() / "datasets"))
    find = partial(_fetched, hub_id, revision or known.revision, known.folder)
    return _Place(hub_id.rpartition("/")[2], known, roots, find)


def _load(source: str, find: Callable[[], Path]) -> dict[str, Dataset]:
    try:
        import datasets  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise missing_extra("Hugging Face datasets", "datasets") from error
    saved = (datasets.config.DATASETDICT_JSON_FILENAME, datasets.config.DATASET_STATE_JSON_FILENAME)
    try:
        folder = find()
        if any((folder / file).is_file() for file in saved):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder), cache_dir=str(cache_root() / "datasets"))
    except (*_UNLOADABLE, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"hf:{source}: not a dataset that can be loaded ({reason})") from error
    return {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)


def _fetched(hub_id: str, revision: str | None, folder: str) -> Path:
    """Return where a dataset of the hub lies on disk, fetching it if it is not there."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and seldom needed

    wanted = [f"{folder}/{part}*" for part in PARTS] if folder else None
    root = snapshot_download(
        hub_id, repo_type="dataset", revision=revision, allow_patterns=wanted, ignore_patterns=CODE
    )
    return Path(root) / folder


def _columns(source: str, train: Dataset, label: str | None) -> tuple[str, str]:
    import datasets  # noqa: PLC0415 - an extra, and slow to import

    def only(kind: type, name: str | None = None) -> str:
        found: list[str] = [
            column
            for column, feature in train.features.items()
            if isinstance(feature, kind) and name in {None, column}
        ]
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            raise DataError(f"hf:{source}: expected one column of type {kind.__name__}, found {listed}")
        return found[0]

    return only(datasets.Image), only(datasets.ClassLabel, label)


def _undecoded(dataset: Dataset, column: str) -> Dataset:
    import datasets  # noqa: PLC0415 - an extra, and slow to import

    return dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _labels(where: str, values: Iterable[int | None]) -> Labels:
    labels = np.array([-1 if value is None else value for value in values], dtype=np.int64)
    if len(labels) == 0 or labels.min() < 0:
        raise DataError(f"{where}: images without a label, or no images")
    return labels
