"""The tables of a run's page as cells."""

from __future__ import annotations

from collections.abc import Sequence

from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line as Summary
from mergeward.report.grid import Cell, Column, Grid, Group, Line
from mergeward.report.paper import Comparison
from mergeward.report.words import ABSENT, label, percent, points

ATTACKED, CLEAN = "attacked merge", "clean merge"

COLUMNS = (
    Column("attack", "attack", "attack", numeric=False),
    Column("method", "method", "method", numeric=False),
    Column("defense", "defense", "defense", numeric=False),
    Column("axes", "setting", "setting", numeric=False),
    Column("success", "attack success %", "success"),
    Column("accuracy", "accuracy %", "accuracy"),
    Column("untriggered", "control: no trigger %", "no trigger"),
    Column("clean_success", "control: clean merge %", "clean"),
    Column("retrain_success", "control: clean retrain %", "retrain"),
    Column("difference", "difference, points", "diff."),
    Column("transfer", "transfer %", "transfer"),
    Column("clean_transfer", "control: transfer, clean merge %", "clean"),
    Column("merge_seconds", "merge time, seconds", "sec."),
    Column("merge_peak_bytes", "merge memory, MB", "MB"),
    Column("seeds", "seeds", "seeds"),
)


def results_grid(lines: Sequence[Summary]) -> Grid:
    """Return one row for each merge: those without an attack, then those with each attack."""
    merges = [line for line in lines if line.kind == ATTACKED]
    merges += [line for line in _once(lines) if line.kind == CLEAN]
    groups = {line.attack: [other for other in merges if other.attack == line.attack] for line in merges}
    return Grid(
        COLUMNS,
        tuple(Group(attack, tuple(map(_result, members))) for attack, members in groups.items()),
    )


def controls_grid(lines: Sequence[Summary]) -> Grid:
    """Return one row for each model that is no attacked merge and each trigger that it was shown."""
    controls = [line for line in lines if line.kind != ATTACKED]
    columns = (
        Column("control", "control", "control", numeric=False),
        Column("model", "model", "model", numeric=False),
        Column("trigger", "trigger", "trigger", numeric=False),
        Column("success", "attack success %", "success"),
        Column("accuracy", "accuracy %", "accuracy"),
    )
    kinds = dict.fromkeys(line.kind for line in controls)
    groups = (Group(kind, tuple(_control(line) for line in controls if line.kind == kind)) for kind in kinds)
    return Grid(columns, tuple(groups))


def papers_grid(found: Sequence[Comparison]) -> Grid:
    """Return one row for each figure of a paper that the runs have, too."""
    columns = (
        Column("attack", "attack", "attack", numeric=False),
        Column("method", "method", "method", numeric=False),
        Column("measure", "measure", "measure", numeric=False),
        Column("paper", "paper %", "paper"),
        Column("here", "here %", "here"),
        Column("difference", "difference, points", "diff."),
        Column("source", "paper, setting", "paper", numeric=False),
    )
    attacks = dict.fromkeys(one.figure.attack for one in found)
    groups = (
        Group(
            attack,
            tuple(Line(one.figure.method, _compared(one)) for one in found if one.figure.attack == attack),
        )
        for attack in attacks
    )
    return Grid(columns, tuple(groups))


def _compared(one: Comparison) -> tuple[Cell, ...]:
    figure = one.figure
    merge = " + ".join(label(name) for name in (figure.method, figure.defense) if name != "none")
    measure = "attack success" if figure.measure == "success" else figure.measure
    second_hand = ", second-hand" if one.paper.second_hand else ""
    difference = Cell("kept", 0.0)
    if one.difference is not None:
        difference = Cell(f"{points(one.difference)}{' (!)' if one.is_large else ''}", one.difference)
    return (
        _name(figure.attack),
        Cell(merge, merge),
        Cell(measure, measure),
        Cell(f"{'at most ' if figure.at_most else ''}{figure.percent:g}", figure.rate),
        _estimate(one.here),
        difference,
        Cell(f"{one.paper.paper}{second_hand}; {one.paper.setting}", one.paper.paper),
    )


def _once(lines: Sequence[Summary]) -> list[Summary]:
    """Of the lines of one model with several triggers, the first."""
    seen: dict[tuple[object, ...], Summary] = {}
    for line in lines:
        seen.setdefault((line.kind, line.attack, line.method, line.defense, str(line.axes), line.tasks), line)
    return list(seen.values())


def _result(line: Summary) -> Line:
    return Line(line.method, _cells(line), {"defense": line.defense})


def _cells(line: Summary) -> tuple[Cell, ...]:
    attacked = line.kind == ATTACKED
    difference = Cell(ABSENT) if line.difference is None else Cell(points(line.difference), line.difference)
    seconds = Cell(ABSENT)
    if line.merge_seconds is not None:
        seconds = Cell(f"{line.merge_seconds:.1f}", line.merge_seconds)
    memory = Cell(ABSENT)
    if line.merge_peak_bytes is not None:
        memory = Cell(f"{line.merge_peak_bytes / 1e6:.0f}", line.merge_peak_bytes)
    return (
        _name(line.attack),
        _merge(line),
        _name(line.defense, none=ABSENT),
        Cell(_axes(line), _axes(line)),
        _estimate(line.success if attacked else None, heat=True),
        _estimate(line.accuracy),
        _estimate(line.untriggered if attacked else None),
        _estimate(line.clean_success),
        _estimate(line.retrain_success),
        difference,
        _estimate(line.transfer if attacked else None),
        _estimate(line.clean_transfer),
        seconds,
        memory,
        Cell(str(line.accuracy.seeds), line.accuracy.seeds),
    )


def _control(line: Summary) -> Line:
    names = [name for name in (line.attack, line.method, line.defense) if name != "none"]
    of_one = line.kind in {"fine-tuned", "attacker alone"}
    model = " ".join([*map(label, names), *(line.tasks[:1] if of_one else ()), _axes(line)]).strip()
    cells = (
        Cell(line.kind, line.kind),
        Cell(model or "nothing merged", model),
        Cell(line.trigger or ABSENT, line.trigger or None),
        _estimate(line.success, heat=True),
        _estimate(line.accuracy),
    )
    return Line(line.method, cells)


def _name(name: str, none: str | None = None) -> Cell:
    text = none if name == "none" and none is not None else label(name)
    return Cell(text, text)


def _merge(line: Summary) -> Cell:
    """Return a merge's name, and for how many seeds it collapsed, if it did."""
    name = label(line.method)
    return Cell(f"{name} (collapsed: {line.collapsed})" if line.collapsed else name, name)


def _axes(line: Summary) -> str:
    return ", ".join(f"{axis.partition('.')[2] or axis} {value}" for axis, value in line.axes.items())


def _estimate(estimate: Estimate | None, *, heat: bool = False) -> Cell:
    if estimate is None:
        return Cell(ABSENT)
    text = f"{percent(estimate.mean)} [{percent(estimate.low)}, {percent(estimate.high)}]"
    return Cell(text, estimate.mean, heat=estimate.mean if heat else None)
