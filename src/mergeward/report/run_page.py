"""One HTML file that shows runs of suites: tables, controls, accuracy against attack success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, get_args

from mergeward.bench.export import as_record
from mergeward.bench.gallery import TriggerPicture
from mergeward.bench.store import RunFile, names_of
from mergeward.bench.summary import summarise
from mergeward.report import curves, interactive, scatter
from mergeward.report.choices import choices
from mergeward.report.grid import Cell, Column, Grid, Group, Line
from mergeward.report.html import assets, environment, json_address, write_text
from mergeward.report.matrix import Measure, matrix
from mergeward.report.paper import comparisons
from mergeward.report.pictures import TRIGGER_SIDE, Picture, png_picture
from mergeward.report.run_grids import controls_grid, papers_grid, results_grid
from mergeward.report.words import label

CHARTS = ("plotly-basic.min.js", "charts.js")
"""Scripts that draw."""

MOST_TITLES = 3
"""Suites beyond so many are counted in the page's title."""

Titled = TypeVar("Titled", curves.Plot, scatter.Plot)
Entry = TypeVar("Entry")


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
    grid = _together({name: results_grid(lines) for name, lines in named.items()})
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
            grid=grid,
            choices=choices(grid),
            controls=_together({name: controls_grid(lines) for name, lines in named.items()}),
            plots=[(plot, interactive.of_scatter(plot)) for plot in plots],
            curves=[interactive.of_curves(plot) for plot in swept],
            papers=_together({name: papers_grid(comparisons(lines)) for name, lines in named.items()}),
            triggers=[_trigger(one) for run in runs for one in run.gallery],
            suites=[_facts(run) for run in runs],
            failed=[row for run in runs for row in run.cells if row.error is not None],
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
        Group(group.key, tuple(_of_suite(line, name) for line in group.lines))
        for name, grid in grids.items()
        for group in grid.groups
    )
    return Grid(_with(columns, Column("suite", "suite", "suite", numeric=False)), tuple(groups))


def _of_suite(line: Line, name: str) -> Line:
    return Line(line.key, _with(line.cells, Cell(name, name)), {**line.marks, "suite": name})


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
