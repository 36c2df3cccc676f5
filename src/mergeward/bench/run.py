"""Runs a suite, cell by cell, and writes each to the run's file as soon as it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeward.bench.checks import check_backdoors, check_names
from mergeward.bench.engine import Engine, Result, Site, local_engine, workshop_at
from mergeward.bench.gallery import gallery
from mergeward.bench.grid import Cell, expand
from mergeward.bench.measure import cell_key, is_cached
from mergeward.bench.models import Contribution
from mergeward.bench.needs import Left, left_of, needed
from mergeward.bench.outdated import Outdated, reasons
from mergeward.bench.rows import CellRow, done_row, failed_row
from mergeward.bench.store import RunWriter, open_run
from mergeward.bench.suite import Suite
from mergeward.bench.variants import check_suite
from mergeward.errors import UsageError, unknown_name
from mergeward.processes import check_alone
from mergeward.progress import track
from mergeward.shared import shared_store
from mergeward.testbed import EMBEDDED, base_path

FILTERS = ("attack", "method", "defense")


@dataclass(frozen=True)
class Plan:
    """What running a suite means here, before anything is made.

    Attributes:
        suite: The suite, with the chosen seeds and members.
        site: Where base and tasks are.
        cells: Its cells, by the hash of their configuration.
        contributions: The contributions that they are made from, each once.
        cached: How many cells' figures are in the store already.
        missing: How many contributions are not.
        has_base: Whether the base is there; without it, a plan can only be looked at.
    """

    suite: Suite
    site: Site
    cells: Mapping[str, Cell]
    contributions: tuple[Contribution, ...]
    cached: int
    missing: int
    has_base: bool = True


@dataclass(frozen=True)
class Step:
    """One more cell has been run.

    Attributes:
        row: What became of it.
        label: What it is.
        number: How many have been run.
        total: How many there are to run.
        seconds_left: About how long the others take; None while nothing is known.
    """

    row: CellRow
    label: str
    number: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        path: The run's file.
        measured: Cells measured now.
        kept: Cells that an earlier run of the same had measured.
        failed: Cells that could not be measured, with the cause.
        partial: Controls among the measured that lack triggers which could not be made, with the cause.
        outdated: Cells that an earlier run had measured otherwise, and that were measured again; None where
            there were none.
    """

    path: Path
    measured: int
    kept: int
    failed: tuple[CellRow, ...]
    partial: tuple[CellRow, ...] = ()
    outdated: Outdated | None = None


def narrowed(suite: Suite, only: Mapping[str, Sequence[str]], seeds: Sequence[int] | None = None) -> Suite:
    """Return a suite with some of its members; the controls of what is left stay.

    Args:
        suite: A suite.
        only: Names to keep, by "attack", "method" or "defense".
        seeds: Seeds in place of the suite's own.

    Raises:
        UsageError: A name is not one of the suite's, or a seed is given twice.
    """
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds {', '.join(map(str, seeds))}: expected every seed once")
    changes: dict[str, object] = {} if seeds is None else {"seeds": tuple(seeds)}
    for family, names in only.items():
        if family not in FILTERS:
            raise unknown_name("filter", family, FILTERS)
        entries = {entry.name: entry for entry in getattr(suite, f"{family}s")}
        for name in names:
            if name not in entries:
                raise unknown_name(f"{family} of suite {suite.name}", name, entries)
        changes[f"{family}s"] = tuple(entry for name, entry in entries.items() if name in names)
    return suite.model_copy(update=changes)


def plan_run(suite: Suite, base: Path | None, data: Path | None = None, store: str | None = None) -> Plan:
    """Check a suite against the registries and the tasks, and say what running it means.

    Args:
        suite: The suite.
        base: Folder of the base; None for one that is yet to be made, on which nothing is in the store.
        data: Folder of task files; None for the embedded tasks.
        store: Folder or URL of a store that several machines share; None for this machine's alone.

    Raises:
        UsageError: It names a method, attack, defense, task or class that there is not; a trigger is larger
            than the images; or there is no such store.
        RecipeError: A parameter is unknown or out of range.
        DataError: A task cannot be read.
    """
    check_suite(suite)
    # To count what is made from a base that is not there, any other will do.
    site = Site(base or Path(base_path(EMBEDDED)), data, None if store is None else shared_store(store).url)
    workshop = workshop_at(site)
    specs = suite.task_specs(data)
    check_names(suite.name, [workshop.task(spec, suite.seeds[0]).name for spec in specs])
    listed = expand(suite, specs)
    check_backdoors(suite.name, workshop, listed)
    cells = {cell_key(workshop, cell): cell for cell in listed}
    made = tuple(needed(workshop, cells.values()).values())
    return Plan(
        suite,
        site,
        cells,
        made,
        cached=sum(base is not None and is_cached(workshop, cell) for cell in cells.values()),
        missing=sum(base is None or not workshop.is_made(one) for one in made),
        has_base=base is not None,
    )


def run_plan(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    engine: Engine | None = None,
    report: Callable[[Step], None] = lambda _: None,
    on_outdated: Callable[[Outdated], None] = lambda _: None,
) -> RunSummary:
    """Run the cells of a plan.

    A cell that fails is written as failed and does not stop the others; a store or a run file that cannot be
    written does. What was measured stays, whatever happens. A control is measured with those of its triggers
    that could be made.

    Args:
        plan: From `plan_run`.
        out: The file to write.
        resume: Whether to go on with a file of the same suite, base and data; failed cells and controls that
            lack a trigger are tried again, and cells measured with other code, versions or threads are
            measured again. The file as it was is then kept beside it.
        engine: What runs the cells; by default this machine's cores.
        report: Called after each cell.
        on_outdated: Called once where there are cells to measure again, before they leave the file.

    Raises:
        OutputError: The run's file or the store cannot be written.
        UsageError: The run to go on with is another; the plan has no base; or a launcher started several
            processes.
    """
    check_alone("bench run")
    if not plan.has_base:
        raise UsageError(f"suite {plan.suite.name}: planned without its base; it can be looked at, not run")
    engine, workshop = engine or local_engine(), workshop_at(plan.site)
    about = {
        "suite": plan.suite.model_dump(mode="json"),
        "base": workshop.base_digest,
        "data": None if plan.site.data is None else plan.site.data.name,
        "images": {spec: workshop.task(spec, plan.suite.seeds[0]).fingerprint for spec in _tasks(plan)},
    }
    with open_run(out, about, planned=len(plan.cells), resume=resume) as writer:
        outdated = _part_with_others(writer, plan, on_outdated)
        finished = writer.finished()
        waiting = [key for key in plan.cells if key not in finished]
        failures = _make_contributions(engine, plan.site, [plan.cells[key] for key in waiting])
        left = {key: left_of(workshop, cell, failures) for key, cell in plan.cells.items()}
        writer.show(gallery(workshop, (one.cell for one in left.values() if one.cell is not None)))
        run = _Run(plan, writer, report, len(waiting))  # its clock is of cells alone
        ready: list[tuple[str, Cell, str | None]] = []
        for key in waiting:
            match left[key]:
                case Left(None, cause):
                    run.write_failed(key, str(cause))
                case Left(Cell() as cell, cause):
                    ready.append((key, cell, cause))
        for result in engine.run(plan.site, [cell for _, cell, _ in ready]):
            run.write(*ready[result.index], result)
    measured = run.number - len(run.failed)
    return RunSummary(out, measured, len(finished), tuple(run.failed), tuple(run.partial), outdated)


def _part_with_others(writer: RunWriter, plan: Plan, tell: Callable[[Outdated], None]) -> Outdated | None:
    """Take cells that are none of the plan's out of the run's file, of which a copy stays."""
    rows = writer.others(plan.cells)
    if not rows:
        return None
    outdated = Outdated(len(rows), reasons(rows), writer.keep_copy())
    tell(outdated)
    writer.forget(rows)
    return outdated


def _tasks(plan: Plan) -> tuple[str, ...]:
    return plan.suite.task_specs(plan.site.data)


class _Run:
    """Writes cells as they come, and reports them."""

    def __init__(self, plan: Plan, writer: RunWriter, report: Callable[[Step], None], total: int) -> None:
        self._plan = plan
        self._writer = writer
        self._report = report
        self._total = total
        self._positions = {key: position for position, key in enumerate(plan.cells)}
        self._started = time.perf_counter()
        self.number = 0
        self.failed: list[CellRow] = []
        self.partial: list[CellRow] = []

    def write(self, key: str, cell: Cell, lacking: str | None, result: Result) -> None:
        """Write what became of a cell.

        Args:
            key: Hash of the whole cell.
            cell: What of it was measured.
            lacking: Why that is not the whole; None where it is.
            result: The figures.
        """
        if result.outcome is None:
            self.write_failed(key, str(result.cause))
            return
        row = done_row(
            key,
            self._positions[key],
            cell,
            result.outcome,
            seconds=result.seconds,
            hardware=result.hardware,
            lacking=lacking,
        )
        self._writer.write(row, result.outcome.rates)
        if lacking is not None:
            self.partial.append(row)
        self._tell(row, cell)

    def write_failed(self, key: str, cause: str) -> None:
        """Write why a cell was not measured."""
        cell = self._plan.cells[key]
        row = failed_row(key, self._positions[key], cell, cause)
        self._writer.write(row)
        self.failed.append(row)
        self._tell(row, cell)

    def _tell(self, row: CellRow, cell: Cell) -> None:
        self.number += 1
        each = (time.perf_counter() - self._started) / self.number
        self._report(Step(row, cell.label, self.number, self._total, each * (self._total - self.number)))


def _make_contributions(engine: Engine, site: Site, cells: Sequence[Cell]) -> dict[str, str]:
    """Make what the cells are made from; return why what could not be made was not, by its hash."""
    workshop = workshop_at(site)
    wanted = needed(workshop, cells)
    for one in filter(workshop.is_made, wanted.values()):
        workshop.offer(one)
    made = {key: one for key, one in wanted.items() if not workshop.is_made(one)}
    keys = list(made)
    results = zip(engine.run(site, list(made.values())), track(keys, "contributions"), strict=True)
    return {keys[one.index]: one.cause for one, _ in results if one.cause is not None}
