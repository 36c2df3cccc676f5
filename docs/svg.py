"""Drawings of the report's page as SVG files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def placed(macro: str, arguments: Sequence[Any], *, x: float, y: float, width: float, height: float) -> str:
    """Return what a macro of the page draws, at a place."""
    module = environment().get_template("macros.html.j2").module
    drawn = str(getattr(module, macro)(*arguments)).strip()
    return drawn.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" ', 1)
