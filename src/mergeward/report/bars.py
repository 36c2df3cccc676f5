"""Bar charts of what is known layer by layer, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mergeward.output import replaced
from mergeward.provenance import printable
from mergeward.report.words import shortened

SCALE = 2
"""Pixels of the picture to one of the lengths below, for sharp text."""

ROW, MARGIN, BAR, NUMBER, HEAD, FONT, THICK = 22, 16, 420, 90, 56, 13, 12
INK, MUTED, LINE, BLUE, ORANGE, GROUND = "#1c1d20", "#5c6068", "#d9dadd", "#0072b2", "#d55e00", "#ffffff"
COLOURS = (BLUE, ORANGE)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

LONGEST_NAME = 48

MOST_ROWS = 400
"""Layers beyond so many are left out of the picture, which says so."""


@dataclass(frozen=True)
class Bars:
    """A chart: for every layer one bar for each series.

    Attributes:
        title: Heading.
        note: What the bars are, in a line.
        layers: Name of each row.
        values: For each series, a value for each layer, 0 or more.
        series: Name of each series, at most two; a single one needs no legend.
        largest: The value of a bar of full length.
    """

    title: str
    note: str
    layers: Sequence[str]
    values: Sequence[Sequence[float]]
    series: Sequence[str]
    largest: float


def write_bars(bars: Bars, path: Path) -> None:
    """Draw a chart, and write it as PNG.

    Args:
        bars: The chart.
        path: The file to write; an older one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    with replaced(path) as scratch:
        _drawn(bars).save(scratch, format="PNG", optimize=True)


def _drawn(bars: Bars) -> Image.Image:
    rows = min(len(bars.layers), MOST_ROWS)
    font, heading = ImageFont.load_default(FONT * SCALE), ImageFont.load_default((FONT + 3) * SCALE)
    names = max([font.getlength(_short(name)) for name in bars.layers[:rows]], default=0.0) / SCALE
    left = MARGIN + names + 10
    note = bars.note
    if len(bars.layers) > rows:
        note += f"; {len(bars.layers) - rows} more layers"
    words = max(heading.getlength(bars.title), font.getlength(note)) / SCALE
    width = max(left + BAR + NUMBER, MARGIN + words) + MARGIN
    head = HEAD + (ROW if len(bars.series) > 1 else 0)
    height = head + _row(bars) * rows + MARGIN
    image = Image.new("RGB", (round(width * SCALE), round(height * SCALE)), GROUND)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN * SCALE, 12 * SCALE), bars.title, fill=INK, font=heading)
    draw.text((MARGIN * SCALE, 33 * SCALE), note, fill=MUTED, font=font)
    if len(bars.series) > 1:
        _legend(draw, bars.series, font)
    _rows(draw, bars, rows, (left, head), font)
    return image


def _row(bars: Bars) -> float:
    return ROW + THICK * (len(bars.series) - 1)


def _legend(draw: ImageDraw.ImageDraw, series: Sequence[str], font: Font) -> None:
    x = float(MARGIN)
    for name, colour in zip(series, COLOURS, strict=False):
        draw.rectangle([x * SCALE, 58 * SCALE, (x + THICK) * SCALE, (58 + THICK) * SCALE], fill=colour)
        draw.text(((x + THICK + 6) * SCALE, 64 * SCALE), _short(name), fill=INK, font=font, anchor="lm")
        x += THICK + 6 + font.getlength(_short(name)) / SCALE + 20


def _rows(draw: ImageDraw.ImageDraw, bars: Bars, rows: int, corner: tuple[float, float], font: Font) -> None:
    left, top = corner
    row = _row(bars)
    draw.line([(left * SCALE, top * SCALE), (left * SCALE, (top + row * rows) * SCALE)], LINE, SCALE)
    for index, name in enumerate(bars.layers[:rows]):
        middle = top + (index + 0.5) * row
        draw.text(((left - 10) * SCALE, middle * SCALE), _short(name), fill=INK, font=font, anchor="rm")
        first = middle - THICK * len(bars.series) / 2
        for place, (values, colour) in enumerate(zip(bars.values, COLOURS, strict=False)):
            _bar(draw, values[index], bars.largest, (left, first + place * THICK), colour, font)


def _bar(
    draw: ImageDraw.ImageDraw,
    value: float,
    largest: float,
    corner: tuple[float, float],
    colour: str,
    font: Font,
) -> None:
    left, top = corner
    length = BAR * value / largest
    if length:
        draw.rectangle(
            [left * SCALE, top * SCALE, (left + length) * SCALE, (top + THICK) * SCALE], fill=colour
        )
    place = ((left + length + 6) * SCALE, (top + THICK / 2) * SCALE)
    draw.text(place, f"{value:.3g}", fill=MUTED, font=font, anchor="lm")


def _short(name: str) -> str:
    """Return a name of bounded length on one line; it may come from a hostile file."""
    return shortened(printable(name), LONGEST_NAME)
