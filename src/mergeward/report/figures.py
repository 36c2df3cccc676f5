"""The charts of runs as files, PNG and PDF, for papers and slides. Needs the extra `figures` (Matplotlib)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mergeward.bench.store import RunFile, names_of
from mergeward.bench.summary import summarise
from mergeward.checkpoint import atomic_directory
from mergeward.errors import missing_extra
from mergeward.report import curves, scatter
from mergeward.report.scale import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08900", "#5a5a5a")
MARKERS = ("o", "s", "^", "D", "v", "X")
SIZE = (4.8, 3.4)
"""Of a figure, in inches."""
DOTS = 200
"""Of a PNG, to the inch."""

WITHOUT_DATE = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
"""What would make equal figures differ is left out of their files."""


def write_figures(runs: Sequence[RunFile], out: Path) -> tuple[Path, ...]:
    """Write every chart of runs into a new folder, as PNG and as PDF.

    Args:
        runs: At least one.
        out: The folder; must not exist.

    Returns:
        The files, in order.

    Raises:
        UnsupportedError: Matplotlib is not installed.
        OutputError: The folder exists already, or cannot be written.
    """
    named = zip(names_of(runs), runs, strict=True)
    drawings = [drawing for name, run in named for drawing in _drawings(name, run)]
    with atomic_directory(out) as folder:
        names = [name for title, draw in drawings for name in _write(folder, _file_name(title), draw)]
    return tuple(out / name for name in names)


Drawing = tuple[str, Callable[["Axes"], None]]


def _drawings(name: str, run: RunFile) -> list[Drawing]:
    lines = summarise(run)
    return [
        *((f"{name} accuracy against success {one.title}", _scatter(one)) for one in scatter.scatter(lines)),
        *(
            (f"{name} {one.measure} over {one.axis} {one.title}", _curves(one))
            for one in curves.curves(lines)
        ),
    ]


def _scatter(plot: scatter.Plot) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.plot([x for x, _ in plot.stairs], [y for _, y in plot.stairs], "k-", lw=0.8)
        for number, one in enumerate(plot.points):
            axes.plot(
                [100 * one.success],
                [100 * one.accuracy],
                color=COLOURS[number % 6],
                marker=MARKERS[number // 6 % 6],
                linestyle="none",
                label=one.name,
            )
        axes.set(title=plot.title, xlabel="attack success, %", ylabel="accuracy, %")
        axes.set(xlim=plot.across, ylim=plot.up)

    return draw


def _curves(plot: curves.Plot) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for curve in plot.curves:
            number = plot.names.index(curve.name)
            means = [100 * mark.rate.mean for mark in curve.marks]
            ends = [
                [100 * (mark.rate.mean - mark.rate.low) for mark in curve.marks],
                [100 * (mark.rate.high - mark.rate.mean) for mark in curve.marks],
            ]
            axes.errorbar(
                [plot.place(curve, mark) for mark in curve.marks],
                means,
                ends,
                color=COLOURS[number % 6],
                marker=MARKERS[number % 6],
                markersize=4,
                linewidth=0.9,
                elinewidth=0.6,
                linestyle=_line(plot.scale, curve),
                markerfacecolor="white" if curve.is_control else COLOURS[number % 6],
                label=None if curve.is_control else curve.name,
            )
        title = f"{plot.title} (hollow: without the attacker)"
        axes.set(title=title, xlabel=plot.axis, ylabel=f"{plot.measure}, %", ylim=(0, 100))
        ticks = plot.scale.ticks
        axes.set_xticks([tick.place for tick in ticks], [tick.text for tick in ticks])

    return draw


def _line(scale: Scale, curve: curves.Curve) -> str:
    if not scale.is_continuous:
        return "none"
    return "--" if curve.is_control else "-"


def _write(folder: Path, name: str, draw: Callable[[Axes], None]) -> list[str]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("figures as files", "figures") from error
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_fontsize(9)
    axes.legend(fontsize=6, frameon=False)
    files = [f"{name}.{form}" for form in WITHOUT_DATE]
    for file, metadata in zip(files, WITHOUT_DATE.values(), strict=True):
        figure.savefig(folder / file, dpi=DOTS, metadata=metadata)
    return files


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
