"""The task vector by layer: a table for terminals, and a bar chart as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich import box
from rich.table import Table
from rich.text import Text

from mergeward.errors import OutputError
from mergeward.workflow.inspect import Distance, LayerEntry

SCALE = 2
"""Pixels of the picture to one of the lengths below, for sharp text."""

ROW, MARGIN, BAR, NUMBER, HEAD, FONT = 22, 16, 420, 90, 56, 13
INK, MUTED, LINE, BLUE, GROUND = "#1c1d20", "#5c6068", "#d9dadd", "#0072b2", "#ffffff"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MOST_ROWS = 400
"""Layers beyond so many are left out of the picture, which says so."""


def layers_table(distance: Distance) -> Table:
    """Return the task vector by layer, for a terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for head in ("values", "norm", "rms", "share %"):
        table.add_column(head, justify="right")
    for one in distance.layers:
        table.add_row(
            Text(one.layer), f"{one.values:,}", f"{one.norm:.4g}", f"{one.rms:.3g}", f"{100 * one.share:.1f}"
        )
    table.add_row("all", "", f"{distance.norm:.4g}", "", "")
    return table


def write_layers_picture(distance: Distance, title: str, path: Path) -> None:
    """Draw the root mean square change of each layer as bars, and write it as PNG.

    Args:
        distance: A model's distance from its base.
        title: Name of the model.
        path: The file to write; an older one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    scratch = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _drawn(distance, title).save(scratch, format="PNG", optimize=True)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from error


def _drawn(distance: Distance, title: str) -> Image.Image:
    layers = distance.layers[:MOST_ROWS]
    font, heading = ImageFont.load_default(FONT * SCALE), ImageFont.load_default((FONT + 3) * SCALE)
    names = max([font.getlength(_short(one.layer)) for one in layers], default=0.0) / SCALE
    left = MARGIN + names + 10
    note = f"root mean square change from {Path(distance.base).name}; length of the whole {distance.norm:.4g}"
    if len(distance.layers) > len(layers):
        note += f"; {len(distance.layers) - len(layers)} more layers"
    words = max(heading.getlength(title), font.getlength(note)) / SCALE
    width = max(left + BAR + NUMBER, MARGIN + words) + MARGIN
    image = Image.new("RGB", (round(width * SCALE), (HEAD + ROW * len(layers) + MARGIN) * SCALE), GROUND)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN * SCALE, 12 * SCALE), title, fill=INK, font=heading)
    draw.text((MARGIN * SCALE, 33 * SCALE), note, fill=MUTED, font=font)
    _bars(draw, layers, left, font)
    return image


def _bars(draw: ImageDraw.ImageDraw, layers: Sequence[LayerEntry], left: float, font: Font) -> None:
    largest = max((one.rms for one in layers), default=0.0) or 1.0
    bottom = HEAD + ROW * len(layers)
    draw.line([(left * SCALE, HEAD * SCALE), (left * SCALE, bottom * SCALE)], fill=LINE, width=SCALE)
    for index, one in enumerate(layers):
        middle = HEAD + (index + 0.5) * ROW
        length = BAR * one.rms / largest
        draw.text(((left - 10) * SCALE, middle * SCALE), _short(one.layer), fill=INK, font=font, anchor="rm")
        if length:
            ends = [left * SCALE, (middle - 6) * SCALE, (left + length) * SCALE, (middle + 6) * SCALE]
            draw.rectangle(ends, fill=BLUE)
        draw.text(
            ((left + length + 6) * SCALE, middle * SCALE),
            f"{one.rms:.3g}",
            fill=MUTED,
            font=font,
            anchor="lm",
        )


def _short(name: str) -> str:
    """Return a name of bounded length on one line; it may come from a hostile file."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= 48 else f"...{printable[-45:]}"
