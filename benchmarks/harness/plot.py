"""Line charts of how a cost grows, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 380, 298
COLUMNS = 2
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 52, 44
COLOURS = ("first", "second", "third", "fourth")

STYLE = """
:root { --ground: #ffffff; --text: #1c1d20; --muted: #5c6068; --line: #d9dadd;
  --first: #0072b2; --second: #d55e00; --third: #009e73; --fourth: #cc79a7; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e6e7ea; --muted: #a2a7b0;
  --line: #33373e; --first: #56b4e9; --second: #f0803c; --third: #2cc9a0; --fourth: #e3a0c5; } }
text { fill: var(--text); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
.ground { fill: var(--ground); }
.title { font-weight: 600; }
text.axis { fill: var(--muted); font-size: 11.5px; }
.grid { stroke: var(--line); }
polyline { fill: none; stroke-width: 2; }
"""


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: Its heading.
        horizontal: What the horizontal axis shows, with the unit.
        vertical: What the vertical axis shows, with the unit.
        series: Points of each line by its name. Both axes begin at zero.
    """

    title: str
    horizontal: str
    vertical: str
    series: dict[str, Sequence[tuple[float, float]]]


def draw(panels: Sequence[Panel]) -> str:
    """Return the panels as one SVG, two beside each other."""
    width, height = WIDTH * min(len(panels), COLUMNS), HEIGHT * -(-len(panels) // COLUMNS)
    inner = "\n".join(_placed(index, panel) for index, panel in enumerate(panels))
    colours = "".join(
        f".{colour} {{ stroke: var(--{colour}); }} circle.{colour}, text.{colour} "
        f"{{ fill: var(--{colour}); stroke: none; }}\n"
        for colour in COLOURS
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">\n<style>{STYLE}{colours}</style>\n'
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>\n{inner}\n</svg>\n'
    )


def ceiling(value: float) -> float:
    """Return the end of an axis that shows `value`: 1, 1.5, 2, 3 or 5 times a power of ten."""
    step = 1.0
    while step * 5 < value:
        step *= 10
    while step > value:
        step /= 10
    return next(top for top in (factor * step for factor in (1, 1.5, 2, 3, 5, 10)) if top >= value)


def _placed(index: int, panel: Panel) -> str:
    row, column = divmod(index, COLUMNS)
    return "\n".join([f'<g transform="translate({WIDTH * column} {HEIGHT * row})">', *_panel(panel), "</g>"])


def _panel(panel: Panel) -> Iterator[str]:
    points = [point for line in panel.series.values() for point in line]
    right, top = (ceiling(max(point[axis] for point in points)) for axis in (0, 1))
    yield f'<text class="title" x="{LEFT}" y="20">{escape(panel.title)}</text>'
    for tick in range(6):
        share = tick / 5
        x, y = _place(share * right, share * top, right, top)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:g}" y2="{y:g}"/>'
        yield f'<text class="axis" x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{share * top:.3g}</text>'
        yield (
            f'<text class="axis" x="{x:g}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{share * right:.3g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield (
        f'<text class="axis" x="{middle:g}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(panel.horizontal)}</text>"
    )
    yield f'<text class="axis" x="{LEFT - 40}" y="{TOP - 12}">{escape(panel.vertical)}</text>'
    for index, (name, line) in enumerate(panel.series.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [_place(x, y, right, top) for x, y in sorted(line)]
        yield f'<polyline class="{colour}" points="{" ".join(f"{x:g},{y:g}" for x, y in places)}"/>'
        yield from (f'<circle class="{colour}" cx="{x:g}" cy="{y:g}" r="3"/>' for x, y in places)
        yield f'<text class="{colour}" x="{LEFT + 8}" y="{TOP + 16 + 17 * index}">{escape(name)}</text>'


def _place(x: float, y: float, right: float, top: float) -> tuple[float, float]:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return round(LEFT + x / right * width, 1), round(HEIGHT - BOTTOM - y / top * height, 1)
