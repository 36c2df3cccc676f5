"""Draws what a suite sweeps as one SVG file, for the pages of results: attack success over each axis."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

import svg

from mergeward.bench.summary import Line
from mergeward.report import curves

WIDTH, HEIGHT = 400, 308
LEFT, RIGHT, TOP, BOTTOM = 46, 388, 14, 256
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
COLUMNS = 2
MARGIN, TITLE, LEGEND = 16, 26, 34

STYLE = """
:root { --page: #ffffff; --text: #1c1d20; --muted: #5c6068; --line: #d9dadd; }
.hue-0 { --hue: #0072b2; } .hue-1 { --hue: #d55e00; } .hue-2 { --hue: #00795a; }
.hue-3 { --hue: #a8457f; } .hue-4 { --hue: #8a6d00; } .hue-5 { --hue: #5a5a5a; }
@media (prefers-color-scheme: dark) {
:root { --page: #16181c; --text: #e6e7ea; --muted: #a2a7b0; --line: #33373e; }
.hue-0 { --hue: #56b4e9; } .hue-1 { --hue: #f0803c; } .hue-2 { --hue: #2fbf95; }
.hue-3 { --hue: #de8fbd; } .hue-4 { --hue: #e0b93a; } .hue-5 { --hue: #b8b8b8; } }
text { fill: var(--text); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
text.axis { fill: var(--muted); font-size: 11.5px; }
.ground { fill: var(--page); }
.tick { stroke: var(--line); }
polyline { fill: none; stroke: var(--hue); stroke-width: 1.75; }
g line { stroke: var(--hue); stroke-width: 1.25; }
circle { fill: var(--hue); }
.of-control polyline { stroke-dasharray: 5 4; stroke-width: 1.25; }
.of-control line { stroke-width: 0.75; }
.of-control circle { fill: var(--page); stroke: var(--hue); }
"""


def across(place: float) -> float:
    """Return the horizontal position of a place between 0 and 1, in SVG units."""
    return round(LEFT + 10 + place * (RIGHT - LEFT - 20), 1)


def up(rate: float) -> float:
    """Return the vertical position of a rate between 0 and 1, in SVG units."""
    return round(BOTTOM - rate * (BOTTOM - TOP), 1)


def picture(lines: Sequence[Line]) -> str | None:
    """Return the plots of attack success as one SVG file; None where nothing is swept."""
    plots = [plot for plot in curves.curves(lines) if plot.measure == "attack success"]
    if not plots:
        return None
    wide, high = WIDTH + MARGIN, TITLE + HEIGHT + LEGEND
    columns = min(COLUMNS, len(plots))
    width, height = columns * wide + MARGIN, -(-len(plots) // columns) * high + MARGIN
    parts = [
        part
        for number, plot in enumerate(plots)
        for part in _placed(plot, MARGIN + number % columns * wide, MARGIN + number // columns * high)
    ]
    return svg.document(width, height, STYLE, parts)


def _placed(plot: curves.Plot, x: int, y: int) -> Iterator[str]:
    yield f'<text x="{x}" y="{y + 12}">{escape(plot.title)}: attack success, %</text>'
    drawn = (plot, sys.modules[__name__])
    place = {"x": x, "y": y + TITLE, "width": WIDTH, "height": HEIGHT}
    yield svg.placed("curve_lines", drawn, **place, template="curves.svg.j2")
    below, at = y + TITLE + HEIGHT + 12, x + LEFT
    for number, name in enumerate(plot.names):
        yield f'<g class="hue-{number % 6}"><circle cx="{at}" cy="{below}" r="4"/></g>'
        yield f'<text class="axis" x="{at + 9}" y="{below + 4}">{escape(name)}</text>'
        at += 30 + 7 * len(name)
