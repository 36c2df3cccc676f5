"""Files of `torch.save`, old and new: where the pickle and each storage lie. No byte of a storage is read."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mergeward.checkpoint.files import first_bytes
from mergeward.checkpoint.unpickle import MAX_PICKLE_BYTES
from mergeward.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
MAX_DIRECTORY_BYTES = 1 << 22
"""A zip whose table of contents is longer is refused: about forty thousand storages."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PICKLE = "data.pkl"


@dataclass(frozen=True)
class Place:
    """Where a storage lies in a file, in bytes."""

    start: int
    size: int


@dataclass(frozen=True)
class Archive:
    """A zip as `torch.save` writes it.

    Attributes:
        pickle: The pickle that says what the storages are.
        places: Where each storage lies, by its key.
    """

    pickle: bytes
    places: Mapping[str, Place]


def is_zip(path: Path) -> bool:
    """Return whether a file begins as a zip does.

    Raises:
        CheckpointError: It cannot be read.
    """
    return first_bytes(path, len(ZIP_MAGIC)) == ZIP_MAGIC


def open_archive(path: Path) -> Archive:
    """Find the parts of a zip of `torch.save`; every one must be stored as it is, and none over another.

    Raises:
        CheckpointError: The file is no such zip, or a hostile one.
    """
    try:
        with path.open("rb") as raw, zipfile.ZipFile(cast(BinaryIO, _Sparing(raw))) as archive:
            entries = archive.infolist()
            size = path.stat().st_size
            places = {entry.filename: _place(raw, entry, size) for entry in entries}
            _check(entries, places)
            top = _top_folder(places)
            raw.seek(places[f"{top}{_PICKLE}"].start)
            content = raw.read(places[f"{top}{_PICKLE}"].size)
            byte_order = places.get(f"{top}byteorder")
            if byte_order is not None:
                raw.seek(byte_order.start)
                if raw.read(min(byte_order.size, 16)) != b"little":
                    raise ValueError("the bytes of its numbers are not in little-endian order")
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError) as error:
        raise CheckpointError(
            f"{path}: not a whole file of torch.save ({' '.join(str(error).split())})"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    prefix = f"{top}data/"
    return Archive(
        content,
        {name.removeprefix(prefix): place for name, place in places.items() if name.startswith(prefix)},
    )


class _Sparing:
    """Gives no more at once than a table of contents may have: zipfile reads as much as a file claims."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int = -1) -> bytes:
        most = MAX_DIRECTORY_BYTES + 1
        content = self._file.read(most if size < 0 else min(size, most))
        if len(content) == most:
            raise ValueError(f"a table of contents of more than {MAX_DIRECTORY_BYTES} bytes")
        return content


def _place(raw: BinaryIO, entry: zipfile.ZipInfo, file_size: int) -> Place:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"{entry.filename!r} is compressed, which torch.save never does")
    if entry.flag_bits & 0x1:
        raise ValueError(f"{entry.filename!r} is encrypted")
    raw.seek(entry.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
    if magic != ZIP_MAGIC:
        raise ValueError(f"{entry.filename!r} is not where the table of contents says")
    start = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if start + entry.file_size > file_size:
        raise ValueError(f"{entry.filename!r} ends behind the file")
    return Place(start, entry.file_size)


def _check(entries: list[zipfile.ZipInfo], places: Mapping[str, Place]) -> None:
    if len(places) != len(entries):
        raise ValueError("two parts of one name")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ValueError(f"{entry.filename!r} lies over another part")
        end = places[entry.filename].start + entry.file_size


def _top_folder(places: Mapping[str, Place]) -> str:
    """Return the folder within the zip that holds everything, with its slash."""
    tops = [
        name.removesuffix(_PICKLE) for name in places if name.count("/") == 1 and name.endswith(f"/{_PICKLE}")
    ]
    if len(tops) != 1:
        raise ValueError(f"no {_PICKLE} in it, or several")
    if f"{tops[0]}constants.pkl" in places:
        raise ValueError("a TorchScript program; expected a checkpoint")
    if places[f"{tops[0]}{_PICKLE}"].size > MAX_PICKLE_BYTES:
        raise ValueError(f"a pickle of more than {MAX_PICKLE_BYTES} bytes")
    return tops[0]
