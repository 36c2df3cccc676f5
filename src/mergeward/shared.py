"""A store that several machines reach: a shared folder, or a place that fsspec has a protocol for.

What lies there:

- `blobs/SHA256`: a file, under the hash of its content.
- `KIND/KEY.json`: an artefact, as the hashes of its files by name. It is written last, so an artefact is
  there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

from mergeward.errors import MergewardError, OutputError, UnsupportedError, UsageError, missing_extra

CONTENTS = "contents.json"
"""The file of an artefact with the SHA-256 of each of its others."""

_HASH = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


class SharedStore:
    """Artefacts at a URL.

    Whoever may write there decides what others find: the hashes are proof against damage, not against
    forgery.

    Args:
        place: A folder, or a URL of fsspec ("s3://bucket/prefix", "memory://name", ...).

    Raises:
        UnsupportedError: fsspec, or what it needs for the protocol, is not installed.
        UsageError: There is no such protocol.
    """

    def __init__(self, place: str) -> None:
        try:
            import fsspec  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise missing_extra("shared stores", "remote") from error
        try:
            self._files, self._root = fsspec.core.url_to_fs(place)
        except ImportError as error:
            raise UnsupportedError(f"store {place}: {error}") from error
        except ValueError as error:
            raise UsageError(f"store {place}: expected a folder or a URL of fsspec: {error}") from error
        self.url: str = self._files.unstrip_protocol(self._root)
        self._known: set[str] = set()

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy an artefact to an empty folder, comparing every file with its hash.

        What is damaged is removed from the store, with a warning in the log.

        Args:
            name: The artefact, "KIND/KEY".
            folder: Where to; if the artefact is not there whole, some of its files may be.

        Returns:
            Whether it is there.

        Raises:
            OutputError: The store cannot be reached.
        """
        with self._named():
            try:
                content: bytes = self._files.cat_file(self._list(name))
            except FileNotFoundError:
                return False
            hashes = _hashes(content)
            if hashes is None or not all(self._fetch(*entry, folder) for entry in hashes.items()):
                _log.warning("%s in %s is damaged; it is made again", name, self.url)
                self._remove(self._list(name))
                return False
            (folder / CONTENTS).write_bytes(content)
        self._known.add(name)
        return True

    def keep(self, name: str, folder: Path) -> None:
        """Put an artefact there, unless it is there already.

        Args:
            name: The artefact, "KIND/KEY".
            folder: What it consists of, with its hashes.

        Raises:
            OutputError: The store cannot be written.
        """
        if name in self._known:
            return
        with self._named():
            if not self._files.exists(self._list(name)):
                hashes: dict[str, str] = json.loads((folder / CONTENTS).read_bytes())
                for file, digest in hashes.items():
                    if not self._files.exists(self._blob(digest)):
                        self._put(folder / file, self._blob(digest))
                self._put(folder / CONTENTS, self._list(name))
        self._known.add(name)

    def _fetch(self, file: str, digest: str, folder: Path) -> bool:
        path, blob = folder / file, self._blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.get_file(blob, str(path))
        except FileNotFoundError:
            return False
        if sha256(path) == digest:
            return True
        self._remove(blob)
        return False

    def _put(self, source: Path, target: str) -> None:
        """Write a file under another name and rename it: half a file is never taken for a whole one."""
        part = f"{target}.{uuid.uuid4().hex}.part"
        self._files.makedirs(self._files._parent(target), exist_ok=True)  # noqa: SLF001 - every fsspec has it
        self._files.put_file(str(source), part)
        self._files.mv(part, target)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):  # another process was quicker
            self._files.rm(path)

    def _list(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}.json"

    def _blob(self, digest: str) -> str:
        return f"{self._root.rstrip('/')}/blobs/{digest}"

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the store in whatever goes wrong with it."""
        try:
            yield
        except MergewardError:
            raise
        except Exception as error:  # every protocol has errors of its own
            raise OutputError(
                f"store {self.url}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error


@lru_cache(maxsize=8)
def shared_store(place: str) -> SharedStore:
    """Return the store at a place; the same object for the same place."""
    return SharedStore(place)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(content: bytes) -> Mapping[str, str] | None:
    """Read the list of an artefact's files; None where it is none, or names what is outside the artefact."""
    try:
        hashes = json.loads(content)
    except ValueError:
        return None
    if not isinstance(hashes, dict) or not hashes:
        return None
    return hashes if all(_is_plain(file, digest) for file, digest in hashes.items()) else None


def _is_plain(file: str, digest: object) -> bool:
    path = PurePosixPath(file)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in file
    return inside and isinstance(digest, str) and _HASH.fullmatch(digest) is not None
