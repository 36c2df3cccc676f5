"""Drawings as SVG files of their own: some of the report's page, some of a template here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader

from mergeward.report.html import environment


def document(width: float, height: float, style: str, parts: Sequence[str]) -> str:
    """Return a file of drawings on one ground.

    Args:
        width: In pixels.
        height: In pixels.
        style: CSS; colours the class `ground`.
        parts: What lies on it.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">\n<style>{style}</style>\n'
        f'<rect class="ground" width="{width:g}" height="{height:g}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


PAGE = "macros.html.j2"
"""Macros of the report's page."""


def placed(
    macro: str,
    arguments: Sequence[Any],
    *,
    x: float,
    y: float,
    width: float,
    height: float,
    template: str = PAGE,
) -> str:
    """Return what a macro draws, at a place; of the report's page, or of a template in this folder."""
    templates = environment()
    if template != PAGE:
        templates.loader = FileSystemLoader(Path(__file__).parent)
    drawn = str(getattr(templates.get_template(template).module, macro)(*arguments)).strip()
    return drawn.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" ', 1)
