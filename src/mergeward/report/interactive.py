"""The charts of a run's page as data for Plotly, which the page brings along and `charts.js` calls.

Colours are left to the page: a trace names its hue by number, and the script takes it from the style, by day
and by night.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mergeward.bench.estimate import Estimate
from mergeward.report import curves, scatter
from mergeward.report.words import percent

HUES = 6
"""Colours that the style has."""

PERCENT = {"range": [-2, 102], "tickvals": [0, 25, 50, 75, 100]}
"""An axis of shares; marks at its ends are drawn whole."""

BESIDE = 0.03
"""How much wider than its values a scale is, at either end."""


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: What it is of, as shown.
        description: What it shows, for those who do not see it.
        figure: JSON with `traces` and `layout`, as `Plotly.newPlot` takes them but for colours.
    """

    title: str
    description: str
    figure: str


def of_curves(plot: curves.Plot) -> Chart:
    """Return success or accuracy over what a suite sweeps; a control is hollow, and hidden with its merge."""
    traces = [_curve(plot, curve) for curve in plot.curves]
    ticks = plot.scale.ticks
    across = {
        "title": {"text": escape(plot.axis)},
        "range": [-BESIDE, 1 + BESIDE],
        "tickvals": [tick.place for tick in ticks],
        "ticktext": [escape(tick.text) for tick in ticks],
    }
    figure = _figure(traces, across, {**PERCENT, "title": {"text": f"{plot.measure}, %"}})
    return Chart(f"{plot.title}: {plot.measure}, %", plot.description, figure)


def of_scatter(plot: scatter.Plot) -> Chart:
    """Return accuracy against attack success, each merge by its number, with the Pareto front."""
    front = {
        "name": "Pareto front",
        "mode": "lines",
        "x": [x for x, _ in plot.stairs],
        "y": [y for _, y in plot.stairs],
        "hoverinfo": "skip",
        "hue": HUES - 1,
    }
    merges = {
        "name": "merges",
        "mode": "markers+text",
        "x": [100 * one.success for one in plot.points],
        "y": [100 * one.accuracy for one in plot.points],
        "text": [str(one.number) for one in plot.points],
        "textposition": "top right",
        "cliponaxis": False,
        "customdata": [escape(f"{one.name}: {one.text}") for one in plot.points],
        "hovertemplate": "%{customdata}<extra></extra>",
        "hue": 1,
    }
    across = {"range": plot.across, "title": {"text": "attack success, %"}}
    figure = _figure([front, merges], across, {"range": plot.up, "title": {"text": "accuracy, %"}})
    return Chart(plot.title, plot.description, figure)


def _curve(plot: curves.Plot, curve: curves.Curve) -> dict[str, Any]:
    name = escape(curve.name)
    rates = [mark.rate for mark in curve.marks]
    return {
        "name": name,
        "legendgroup": name,
        "showlegend": not curve.is_control,
        "mode": "lines+markers" if plot.scale.is_continuous else "markers",
        "x": [plot.place(curve, mark) for mark in curve.marks],
        "y": [100 * rate.mean for rate in rates],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * (rate.high - rate.mean) for rate in rates],
            "arrayminus": [100 * (rate.mean - rate.low) for rate in rates],
        },
        "customdata": [
            escape(f"{curve.label}, {plot.axis} {mark.tick.text}: {_interval(mark.rate)}")
            for mark in curve.marks
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "hue": plot.names.index(curve.name) % HUES,
        "hollow": curve.is_control,
    }


def _interval(rate: Estimate) -> str:
    return f"{percent(rate.mean)} [{percent(rate.low)}, {percent(rate.high)}] %"


def _figure(traces: Sequence[Mapping[str, Any]], across: Mapping[str, Any], up: Mapping[str, Any]) -> str:
    layout = {"xaxis": dict(across), "yaxis": dict(up)}
    return json.dumps({"traces": list(traces), "layout": layout}, ensure_ascii=False)
