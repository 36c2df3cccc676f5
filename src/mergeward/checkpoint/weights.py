"""The weights files of an output while they are being written."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from mergeward.checkpoint.shards import ShardPlan
from mergeward.checkpoint.source import Piece, TensorInfo
from mergeward.errors import OutputError

PARTIAL = ".partial"
"""Ending of a file that is being written: nothing loads such a name, though its header is whole at once."""

JOURNAL = "finished.jsonl"
"""Lists the tensors that are whole on the disk: their names as JSON, one a line."""

SYNC_BYTES = 1 << 27
"""How much is written before it is brought to the disk, beside the work that goes on."""


class Weights:
    """Writes pieces of tensors to their places, and keeps a journal of the tensors that are safe on the disk.

    Pieces are brought to the disk by a thread of its own while others are computed; what the journal lists
    has got there.

    Args:
        folder: Where the files are.
        plan: The files.
        tensors: Name, shape and type of every tensor.

    Attributes:
        done: The tensors that an earlier run finished.
    """

    def __init__(self, folder: Path, plan: ShardPlan, tensors: Mapping[str, TensorInfo]) -> None:
        self._folder = folder
        self._plan = plan
        self._sizes = {name: info.numel for name, info in tensors.items()}
        self.done: Collection[str] = _journaled(folder, self._sizes)
        self._finished = set(self.done)
        self._written: dict[str, int] = {}
        self._complete: list[str] = []
        self._unsynced = 0
        self._files: dict[str, int] = {}
        self._syncing: Future[None] | None = None
        self._syncer = ThreadPoolExecutor(1, "mergeward-sync")

    def __enter__(self) -> Self:
        for name, layout in self._plan.layouts.items():
            path = self._folder / (name + PARTIAL)
            if (final := self._folder / name).exists():
                # The earlier run was stopped while it gave the files their names.
                final.rename(path)
            self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            layout.write_header(self._files[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._syncer.shutdown(wait=True)
        finally:
            for descriptor in self._files.values():
                os.close(descriptor)

    def write(self, piece: Piece) -> None:
        """Write one piece.

        Raises:
            OutputError: It is of no planned tensor, is not as planned, or does not follow the last one.
        """
        name = piece.name
        if name in self._finished or (name in self._sizes and piece.start != self._written.get(name, 0)):
            raise OutputError(f"tensor {name!r} given twice, or not in a row (value {piece.start})")
        file = self._plan.file_of.get(name, next(iter(self._files)))
        self._plan.layouts[file].write(self._files[file], piece)
        self._written[name] = piece.start + piece.values.numel()
        if self._written[name] == self._sizes[name]:
            self._finished.add(name)
            self._complete.append(name)
        self._unsynced += piece.values.nbytes
        if self._unsynced >= SYNC_BYTES:
            self._sync()

    def finish(self) -> None:
        """Bring everything to the disk and give the files their names.

        Raises:
            OutputError: Some tensors were not given, or not whole.
        """
        missing = [name for name in self._sizes if name not in self._finished]
        if missing:
            raise OutputError(f"{len(missing)} tensors not given, {missing[0]!r} the first of them")
        self._sync()
        self._settled()
        for name in self._plan.layouts:
            (self._folder / (name + PARTIAL)).rename(self._folder / name)
        (self._folder / JOURNAL).unlink()

    def _sync(self) -> None:
        self._settled()
        complete, self._complete, self._unsynced = self._complete, [], 0
        self._syncing = self._syncer.submit(self._record, complete)

    def _settled(self) -> None:
        if self._syncing is not None:
            self._syncing.result()

    def _record(self, complete: list[str]) -> None:
        for descriptor in self._files.values():
            os.fdatasync(descriptor)
        with (self._folder / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.writelines(json.dumps(name) + "\n" for name in complete)
            journal.flush()
            os.fsync(journal.fileno())


def _journaled(folder: Path, known: Collection[str]) -> list[str]:
    """Return the tensors that the journal lists; its last line may have been cut off."""
    path = folder / JOURNAL
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    names = {json.dumps(name): name for name in known}
    return [names[line] for line in lines if line in names]
