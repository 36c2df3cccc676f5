"""The file of a run: an SQLite database, one row a cell.

Tables:

- `run` (`key`, `value`): the suite as JSON, base, data, images, format; the same for the whole run.
- `cells`: one row for each cell that has been run. `cell` is the hash of its configuration, `kind` what it is
  for, `axes` and `tasks` JSON, `accuracy` the mean over the tasks, `success` the mean over its own triggers
  (NULL for what has none), `status` "done" or "failed", `error` the cause of a failure, or which triggers a
  cell that is done lacks and why (it is measured again when the run goes on), `collapsed` JSON (NULL where it
  is not known; files from before it was recorded get the column when they are gone on with).
- `rates`: one row for each rate that was measured, with its 95 % Wilson interval; see `measure.Measured`.
- `gallery`: one row for each attacker's trigger (`attack`, `target_task`), with pictures as PNG; see
  `gallery.TriggerPicture`.

All rates lie between 0 and 1, times are seconds, memory is bytes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mergeward.bench.about import difference, plain
from mergeward.bench.gallery import TriggerPicture
from mergeward.bench.measure import Measured
from mergeward.bench.rows import CellRow
from mergeward.errors import DataError, OutputError, UsageError
from mergeward.evaluate import Rate
from mergeward.output import replaced

FORMAT = 1
"""Number of the file's form; another one is not read."""

PLANNED = "planned"
"""Key of the number of cells in the table `run`."""

CELL_COLUMNS = tuple(entry.name for entry in fields(CellRow))
_JSON_COLUMNS = ("axes", "tasks", "collapsed")
_RATE_COLUMNS = (
    "cell",
    "measure",
    "attack",
    "target_task",
    "target_class",
    "task",
    "successes",
    "trials",
    "value",
    "low",
    "high",
)

_PICTURE_COLUMNS = tuple(entry.name for entry in fields(TriggerPicture))

_GALLERY = f"CREATE TABLE gallery ({', '.join(_PICTURE_COLUMNS)}, PRIMARY KEY (attack, target_task))"

SCHEMA = (
    "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"CREATE TABLE cells ({', '.join(CELL_COLUMNS)}, PRIMARY KEY (cell))",
    f"CREATE TABLE rates ({', '.join(_RATE_COLUMNS)}, "
    "PRIMARY KEY (cell, measure, attack, target_task, task))",
    _GALLERY,
)


@dataclass(frozen=True)
class RunFile:
    """A run as it was read.

    Attributes:
        path: The file.
        about: The table `run`.
        cells: The table `cells`, in the suite's order.
        rates: The table `rates`, by cell.
        gallery: The table `gallery`.
        planned: How many cells the whole run has; None where the file does not say.
    """

    path: Path
    about: Mapping[str, Any]
    cells: tuple[CellRow, ...]
    rates: Mapping[str, tuple[Measured, ...]]
    gallery: tuple[TriggerPicture, ...] = ()
    planned: int | None = None

    @property
    def done(self) -> tuple[CellRow, ...]:
        """The cells that were measured."""
        return tuple(row for row in self.cells if row.status == "done")


class RunWriter:
    """Writes a run, one transaction a cell."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def finished(self) -> frozenset[str]:
        """Return the cells that need not be run again: those measured with all of their triggers."""
        return frozenset(
            row[0]
            for row in self._connection.execute(
                "SELECT cell FROM cells WHERE status = 'done' AND error IS NULL"
            )
        )

    def others(self, cells: Collection[str]) -> tuple[CellRow, ...]:
        """Return the cells that are none of these: measured with other code, versions or threads."""
        return tuple(row for row in _cell_rows(self._connection) if row.cell not in cells)

    def keep_copy(self) -> Path:
        """Copy the file as it is to `NAME.before-HASH.sqlite` beside it, and return that path."""
        rows = [(row.cell, row.finished) for row in _cell_rows(self._connection)]
        digest = hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()[:8]
        path = self._path.with_name(f"{self._path.stem}.before-{digest}{self._path.suffix}")
        with replaced(path) as scratch, closing(_connect(scratch)) as copy:
            self._connection.backup(copy)
        return path

    def forget(self, rows: Iterable[CellRow]) -> None:
        """Forget cells."""
        names = [(row.cell,) for row in rows]
        with self._connection:
            for table in ("cells", "rates"):
                self._connection.executemany(f"DELETE FROM {table} WHERE cell = ?", names)  # noqa: S608

    def write(self, row: CellRow, rates: Iterable[Measured] = ()) -> None:
        """Write a cell, in place of what an earlier run wrote of it."""
        values = [_column(row, name) for name in CELL_COLUMNS]
        with self._connection:
            self._connection.execute("DELETE FROM rates WHERE cell = ?", (row.cell,))
            self._insert("cells", values)
            for one in rates:
                self._insert("rates", _rate_values(row.cell, one))

    def show(self, pictures: Iterable[TriggerPicture]) -> None:
        """Write pictures of triggers, in place of those of the same."""
        with self._connection:
            for one in pictures:
                self._insert("gallery", [getattr(one, name) for name in _PICTURE_COLUMNS])

    def _insert(self, table: str, values: list[Any]) -> None:
        places = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)  # noqa: S608


@contextmanager
def open_run(path: Path, about: Mapping[str, Any], *, planned: int, resume: bool) -> Iterator[RunWriter]:
    """Open the file of a run for writing; a new one, or one to go on with.

    Args:
        path: The file.
        about: What the run is of; the table `run`.
        planned: How many cells it has.
        resume: Whether to go on with a run of the same.

    Raises:
        OutputError: The file exists already, cannot be written, or another process writes it.
        UsageError: The run to go on with is another.
    """
    if path.exists() and not resume:
        raise OutputError(f"{path}: exists; --resume goes on with it, another --out makes a new run")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=0), closing(_connect(path)) as connection:
            if _is_empty(connection):
                _create(connection, {**about, PLANNED: planned})
            elif (found := _about(connection, path)) != plain(about):
                other = difference(found, plain(about))
                raise UsageError(f"{path}: a run of {other}; --out names another file")
            _bring_up_to_date(connection)
            yield RunWriter(path, connection)
        Path(f"{path}.lock").unlink(missing_ok=True)
    except Timeout as error:
        raise OutputError(f"{path}: another process writes this run") from error
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot write the run: {reason}") from error


def read_run(path: Path) -> RunFile:
    """Read the file of a run, finished or not.

    Raises:
        DataError: There is no such file, or it is not a run.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected what 'mergeward bench run' wrote")
    try:
        with closing(_connect_to_read(path)) as connection:
            about, planned = _about(connection, path), _entries(connection).get(PLANNED)
            cells = _cell_rows(connection)
            rates: dict[str, list[Measured]] = {}
            for cell, *values in connection.execute("SELECT * FROM rates ORDER BY rowid"):
                rates.setdefault(cell, []).append(_measured(values))
            gallery = tuple(
                TriggerPicture(*row) for row in connection.execute("SELECT * FROM gallery ORDER BY rowid")
            )
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a run of 'mergeward bench': {error}") from error
    return RunFile(
        path, about, cells, {cell: tuple(entries) for cell, entries in rates.items()}, gallery, planned
    )


def names_of(runs: Sequence[RunFile]) -> list[str]:
    """Return what runs are called beside one another: their suites, or their files where suites repeat."""
    suites = [str(run.about["suite"]["name"]) for run in runs]
    return suites if len(set(suites)) == len(suites) else [str(run.path) for run in runs]


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a run to be read; to be mended first where a process was killed while it wrote a cell."""
    mode = "rw" if Path(f"{path}-journal").exists() else "ro"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether a file is new, or of a run that was killed before it was begun."""
    return connection.execute("SELECT name FROM sqlite_master").fetchone() is None


def _create(connection: sqlite3.Connection, about: Mapping[str, Any]) -> None:
    """Make the tables and say what the run is of, all or nothing."""
    with connection:
        connection.execute("BEGIN")
        for statement in SCHEMA:
            connection.execute(statement)
        _insert_about(connection, {"format": FORMAT, **plain(about)})


def _insert_about(connection: sqlite3.Connection, entries: Mapping[str, Any]) -> None:
    rows = [(key, json.dumps(value)) for key, value in entries.items()]
    connection.executemany("INSERT INTO run VALUES (?, ?)", rows)


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Give a file of an earlier version the columns that have come since, and room for all triggers."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(cells)")}
    with connection:
        for name in CELL_COLUMNS:
            if name not in there:
                connection.execute(f"ALTER TABLE cells ADD COLUMN {name}")
        if sum(row[5] > 0 for row in connection.execute("PRAGMA table_info(gallery)")) == 1:
            connection.execute("ALTER TABLE gallery RENAME TO earlier")
            connection.execute(_GALLERY)
            connection.execute("INSERT INTO gallery SELECT * FROM earlier")
            connection.execute("DROP TABLE earlier")


def _about(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    found = _entries(connection)
    if found.pop("format", None) != FORMAT:
        raise DataError(f"{path}: a run in another form than {FORMAT}, which this version reads")
    return {key: value for key, value in found.items() if key != PLANNED}


def _entries(connection: sqlite3.Connection) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM run")}


def _column(row: CellRow, name: str) -> Any:
    value = getattr(row, name)
    return json.dumps(value) if name in _JSON_COLUMNS and value is not None else value


def _cell_rows(connection: sqlite3.Connection) -> tuple[CellRow, ...]:
    rows = connection.execute("SELECT * FROM cells ORDER BY position")
    names = [column[0] for column in rows.description]
    return tuple(_cell_row(dict(zip(names, values, strict=True))) for values in rows)


def _cell_row(named: Mapping[str, Any]) -> CellRow:
    axes, tasks = json.loads(named["axes"]), tuple(json.loads(named["tasks"]))
    told = named.get("collapsed")
    collapsed = None if told is None else tuple(json.loads(told))
    return CellRow(**{**named, "axes": axes, "tasks": tasks, "collapsed": collapsed})


def _rate_values(cell: str, one: Measured) -> list[Any]:
    names = [cell, one.measure, one.attack, one.target_task, one.target_class, one.task]
    return [*names, one.rate.successes, one.rate.trials, one.rate.value, *one.rate.interval]


def _measured(values: list[Any]) -> Measured:
    measure, attack, target_task, target_class, task, successes, trials, *_ = values
    return Measured(measure, task, Rate(successes, trials), attack, target_task, target_class)
