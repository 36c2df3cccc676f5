"""One HTML file that shows runs of suites: tables, controls, accuracy against attack success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, get_args

from mergeward.bench.estimate import Estimate
from mergeward.bench.export import as_record
from mergeward.bench.gallery import TriggerPicture
from mergeward.bench.store import RunFile, names_of
from mergeward.bench.summary import Line as Summary
from mergeward.bench.summary import summarise
from mergeward.report import curves, interactive, scatter
from mergeward.report.grid import Cell, Column, Grid, Group, Line
from mergeward.report.html import assets, environment, json_address, write_text
from mergeward.report.matrix import Measure, matrix
from mergeward.report.paper import Comparison, comparisons
from mergeward.report.pictures import TRIGGER_SIDE, Picture, png_picture
from mergeward.report.words import ABSENT, label, percent, points

ATTACKED, CLEAN = "attacked merge", "clean merge"

CHARTS = ("plotly-basic.min.js", "charts.js")
"""Scripts that draw."""

MOST_TITLES = 3
"""Suites beyond so many are counted in the page's title."""

Titled = TypeVar("Titled", curves.Plot, scatter.Plot)
Entry = TypeVar("Entry")

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
    Column("merge_seconds", "merge time, seconds", "sec."),
    Column("seeds", "seeds", "seeds"),
)


def write_run_page(runs: Sequence[RunFile], path: Path) -> None:
    """Write runs as one self-contained HTML page.

    Args:
        runs: At least one, of one suite or of several; each has a section.
        path: The file to write; an existing one is replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    named = dict(zip(names_of(runs), map(summarise, runs), strict=True))
    records = [{"suite": name, **as_record(line)} for name, lines in named.items() for line in lines]
    plots = _titled({name: scatter.scatter(lines) for name, lines in named.items()})
    swept = _titled({name: curves.curves(lines) for name, lines in named.items()})
    page = (
        environment()
        .get_template("run.html.j2")
        .render(
            title=_title([str(run.about["suite"]["title"]) for run in runs]),
            matrices=[
                (name, found)
                for name, lines in named.items()
                for measure in get_args(Measure)
                if (found := matrix(lines, measure))
            ],
            grid=_together({name: results_grid(lines) for name, lines in named.items()}),
            controls=_together({name: controls_grid(lines) for name, lines in named.items()}),
            plots=[(plot, interactive.of_scatter(plot)) for plot in plots],
            curves=[interactive.of_curves(plot) for plot in swept],
            papers=_together({name: papers_grid(comparisons(lines)) for name, lines in named.items()}),
            triggers=[_trigger(one) for run in runs for one in run.gallery],
            suites=[_facts(run) for run in runs],
            failed=[row for run in runs for row in run.cells if row.status != "done"],
            json_address=json_address(records),
            **assets(*(CHARTS if plots or swept else ())),
        )
    )
    write_text(path, page)


def _together(grids: Mapping[str, Grid]) -> Grid:
    """Return the tables of several runs as one that says which run a row is of; that of one run as it is."""
    if len(grids) == 1:
        return next(iter(grids.values()))
    columns = next(iter(grids.values())).columns
    groups = (
        Group(group.key, tuple(Line(line.key, _with(line.cells, Cell(name, name))) for line in group.lines))
        for name, grid in grids.items()
        for group in grid.groups
    )
    return Grid(_with(columns, Column("suite", "suite", "suite", numeric=False)), tuple(groups))


def _with(entries: tuple[Entry, ...], suite: Entry) -> tuple[Entry, ...]:
    """Put the suite behind the two columns that name a row."""
    return (*entries[:2], suite, *entries[2:])


def _title(titles: Sequence[str]) -> str:
    return ", ".join(titles) if len(titles) <= MOST_TITLES else f"{len(titles)} suites"


def _titled(plots: Mapping[str, Sequence[Titled]]) -> list[Titled]:
    """Return the plots of several runs, with their run in the title; those of one run as they are."""
    if len(plots) == 1:
        return list(next(iter(plots.values())))
    return [
        replace(plot, title=f"{plot.title} ({name})") for name, members in plots.items() for plot in members
    ]


def results_grid(lines: Sequence[Summary]) -> Grid:
    """Return one row for each merge: those without an attack, then those with each attack."""
    merges = [line for line in lines if line.kind == ATTACKED]
    merges += [line for line in _once(lines) if line.kind == CLEAN]
    groups = {line.attack: [other for other in merges if other.attack == line.attack] for line in merges}
    return Grid(
        COLUMNS,
        tuple(
            Group(attack, tuple(Line(line.method, _cells(line)) for line in members))
            for attack, members in groups.items()
        ),
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


def _trigger(one: TriggerPicture) -> tuple[str, Picture, Picture]:
    """Return a trigger's heading and its pictures: alone, and on an image."""
    attack, _, setting = one.attack.partition(" ")
    name = f"{label(attack)} {setting}".strip()
    aim = f"{one.kind}; {one.target_class} of {label(one.target_task)}, seed {one.seed}"
    return (
        name,
        png_picture(one.pattern, TRIGGER_SIDE, f"The trigger of {name}", aim),
        png_picture(one.example, TRIGGER_SIDE, f"A test image with the trigger of {name}", ""),
    )


def _once(lines: Sequence[Summary]) -> list[Summary]:
    """Of the lines of one model with several triggers, the first."""
    seen: dict[tuple[object, ...], Summary] = {}
    for line in lines:
        seen.setdefault((line.kind, line.attack, line.method, line.defense, str(line.axes), line.tasks), line)
    return list(seen.values())


def _cells(line: Summary) -> tuple[Cell, ...]:
    attacked = line.kind == ATTACKED
    difference = Cell(ABSENT) if line.difference is None else Cell(points(line.difference), line.difference)
    seconds = Cell(ABSENT)
    if line.merge_seconds is not None:
        seconds = Cell(f"{line.merge_seconds:.1f}", line.merge_seconds)
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
        seconds,
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


def _facts(run: RunFile) -> dict[str, str]:
    suite = run.about["suite"]
    versions = dict.fromkeys(part for row in run.cells for part in row.versions.split(", "))
    hardware = dict.fromkeys(row.hardware for row in run.cells)
    facts = {
        "suite": f"{suite['name']}: {suite['title']}",
        "about": suite["summary"],
        "source": suite["source"],
        "base": f"sha256 {str(run.about['base'])[:16]}",
        "data": str(run.about["data"] or "embedded"),
        "seeds": ", ".join(str(seed) for seed in suite["seeds"]),
        "cells": f"{len(run.done)} of {run.planned or len(run.cells)} measured",
        "versions": ", ".join(versions),
        "hardware": "; ".join(hardware),
    }
    return {name: text for name, text in facts.items() if text}
