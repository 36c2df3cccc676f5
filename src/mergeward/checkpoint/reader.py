"""A model on disk, opened lazily: its tensors are read one at a time, by name, in file order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError
from torch import Tensor

from mergeward.checkpoint.digests import digest_of, file_sha256
from mergeward.checkpoint.files import CONVERT, PICKLE_SUFFIXES, contained, exists, read_json_object
from mergeward.checkpoint.header import OpenFile, open_safetensors
from mergeward.checkpoint.hub import local_path
from mergeward.checkpoint.source import TensorInfo, finite
from mergeward.errors import CheckpointError
from mergeward.provenance import is_marked

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


class Checkpoint:
    """A base or a contribution on disk; made by `open_checkpoint`.

    Attributes:
        path: The folder, or the single file.
        folder: The folder in Hugging Face layout; None for a single file.
        tensors: Every tensor by name: shards in the order of their names, each in the order of its bytes.
        metadata: The free-text entries of the files' headers; of equal keys the first file's holds, or that
            of the first that says it carries a backdoor.
        config: Content of `config.json`; None for a single file or where there is none.
    """

    def __init__(self, path: Path, *, folder: Path | None, files: list[OpenFile]) -> None:
        self.path = path
        self.folder = folder
        self.tensors: Mapping[str, TensorInfo] = {
            name: info for file in files for name, info in file.tensors.items()
        }
        first = sorted(files, key=lambda file: not is_marked(file.metadata))
        self.metadata: dict[str, str] = {
            key: value for file in reversed(first) for key, value in file.metadata.items()
        }
        self.config: dict[str, Any] | None = None if folder is None else _config(folder)
        self._files = {file.path.name: file for file in files}

    @property
    def name(self) -> str:
        """Its path, as errors call it."""
        return str(self.path)

    def read(self, name: str) -> Tensor:
        """Return one tensor as stored.

        Args:
            name: The tensor's name.

        Returns:
            The tensor. It may be a view of the file: do not write to it.

        Raises:
            CheckpointError: There is no such tensor, it holds NaN or infinity, or the file was closed or
                changed.
        """
        return finite(self.view(name), name=name, where=self._file(name).path)

    def view(self, name: str) -> Tensor:
        """Return one tensor as stored, unchecked; otherwise as `read`."""
        file = self._file(name)
        try:
            tensor: Tensor = file.handle.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"{file.path}: tensor {name!r} cannot be read ({error})") from error
        return tensor

    def _file(self, name: str) -> OpenFile:
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor {name!r}")
        file = self._files.get(self.tensors[name].file)
        if file is None:
            raise CheckpointError(f"{self.path}: read after it was closed")
        return file

    @property
    def hashed_files(self) -> tuple[Path, ...]:
        """The files that hold its tensors."""
        names = {info.file: None for info in self.tensors.values()}
        return tuple(self._files[name].path for name in names)

    def sha256(self) -> dict[str, str]:
        """Return the SHA-256 of each weights file as hexadecimal digits, by file name."""
        return {path.name: file_sha256(path) for path in self.hashed_files}

    def digest(self) -> str:
        """Return one SHA-256 for the whole: that of a single weights file, or of the list of its shards'."""
        return digest_of(self.sha256())

    def close(self) -> None:
        """Let go of the files; reading afterwards is an error."""
        for file in self._files.values():
            file.handle.__exit__(None, None, None)
        self._files = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a model: every file is checked, and no tensor is read.

    Args:
        path: Folder in Hugging Face layout (`model.safetensors`, or `model.safetensors.index.json` and its
            shards), a single `.safetensors` file, or the hub id of a model.

    Returns:
        The open checkpoint.

    Raises:
        CheckpointError: It is missing, a pickle, malformed, or names a file outside its folder.

    Example:
        >>> with open_checkpoint("contribution") as checkpoint:  # doctest: +SKIP
        ...     checkpoint.tensors["visual_projection.weight"].shape
        (512, 768)
    """
    found = local_path(path)
    if not found.is_dir():
        return Checkpoint(found, folder=None, files=[_single(found)])
    if exists(found / WEIGHTS):
        files = [open_safetensors(contained(found, WEIGHTS))]
    elif exists(found / INDEX):
        files = _open_shards(found)
    else:
        raise _no_weights(found)
    return Checkpoint(found, folder=found, files=files)


def _single(path: Path) -> OpenFile:
    if path.suffix.lower() not in {".safetensors", *PICKLE_SUFFIXES}:
        raise CheckpointError(f"{path}: expected a folder in Hugging Face layout or a .safetensors file")
    return open_safetensors(path)


def _no_weights(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        return CheckpointError(
            f"{folder / pickles[0]}: pickle, which can run code when it is read; {CONVERT}"
        )
    return CheckpointError(f"{folder}: no {WEIGHTS} and no {INDEX}")


def _open_shards(folder: Path) -> list[OpenFile]:
    shards = _shards(folder)
    files = []
    for shard, named in sorted(shards.items()):
        path = contained(folder, shard)
        if path.suffix.lower() not in {".safetensors", *PICKLE_SUFFIXES}:
            raise CheckpointError(f"{folder / INDEX}: shard {shard!r} is not a .safetensors file")
        file = open_safetensors(path)
        if odd := sorted(named ^ file.tensors.keys()):
            place = "the index and not in the file" if odd[0] in named else "the file and not in the index"
            raise CheckpointError(f"{path}: tensor {odd[0]!r} is in {place}")
        files.append(file)
    return files


def _shards(folder: Path) -> dict[str, set[str]]:
    """Return the names of the tensors that the index assigns to each shard."""
    index = contained(folder, INDEX)
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: no weight_map from tensors to shards")
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise CheckpointError(f"{index}: weight_map[{tensor!r}] is not the name of a shard")
        shards.setdefault(shard, set()).add(tensor)
    return shards


def _config(folder: Path) -> dict[str, Any] | None:
    return read_json_object(contained(folder, CONFIG)) if exists(folder / CONFIG) else None
