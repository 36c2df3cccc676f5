"""Writes the measured tables into `docs/benchmarks.md`: `python docs/write_benchmarks.py`.

Reads what the scripts in `benchmarks/` wrote to `docs/benchmarks/`, and makes from it

- the sections between two comments each in `docs/benchmarks.md`;
- `docs/benchmarks/growth.svg` and `docs/benchmarks/adaptive_growth.svg`.

A section whose figures are not there is left empty. A test holds the page to what this script makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import adaptive_growth
import choices
import final_mask
import parity
import time_to_result
import trigger
from harness import curves, plot, rows
from harness.rows import Row

FOLDER = REPOSITORY / "docs" / "benchmarks"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
PICTURE = FOLDER / "growth.svg"
ADAPTIVE_PICTURE = FOLDER / "adaptive_growth.svg"

AXES = {"contributions": "contributions of {size:.2f} GB", "gigabytes": "base and two contributions, GB"}
"""What the horizontal axes of the growth show."""


def merge_section(content: Mapping[str, Any]) -> str:
    """Return the tables of `benchmarks/merge.py`."""
    found = [Row(**one) for one in content["rows"]]
    parts = [rows.markdown(found), _setting(content["setting"])]
    if content["growth"]:
        parts.insert(
            1, "![Wall time against the number of contributions and the size](benchmarks/growth.svg)\n"
        )
    return "\n".join(parts)


def adaptive_section(content: Mapping[str, Any]) -> str:
    """Return the tables of `benchmarks/adaptive.py`."""
    parts = [rows.markdown([Row(**one) for one in content["rows"]]), _setting(content["setting"])]
    if content["curves"]:
        parts.append(curves.markdown(content["curves"]))
    return "\n".join(parts)


def adaptive_growth_section(content: Mapping[str, Any]) -> str:
    """Return the picture and the table of `benchmarks/adaptive_growth.py`."""
    shown = "![Time of a step and peak memory as they grow](benchmarks/adaptive_growth.svg)\n"
    return "\n".join([shown, adaptive_growth.markdown(content), _setting(content["setting"])])


def parity_section(content: Mapping[str, Any]) -> str:
    """Return the table of `benchmarks/parity.py`."""
    return parity.markdown([parity.ParityRow(**one) for one in content["rows"]])


def trigger_section(content: Mapping[str, Any]) -> str:
    """Return the table of `benchmarks/trigger.py`."""
    table = trigger.markdown([trigger.TriggerRow(**one) for one in content["rows"]])
    return "\n".join([table, _setting(content["setting"])])


SECTIONS = {
    "merge": merge_section,
    "adaptive": adaptive_section,
    "adaptive_growth": adaptive_growth_section,
    "time_to_result": time_to_result.markdown,
    "final_mask": final_mask.markdown,
    "choices": choices.markdown,
    "parity": parity_section,
    "trigger": trigger_section,
}
"""What makes each section, by the name of its figures."""


def growth(content: Mapping[str, Any]) -> str:
    """Return the chart of growth with the number of contributions and with size."""
    size = content["setting"]["plain_mb"] / 1000
    panels = [
        plot.Panel(title, AXES[axis].format(size=size), "seconds", _series(content["growth"], axis))
        for axis, title in (("contributions", "Number of contributions"), ("gigabytes", "Size"))
    ]
    return plot.draw(panels)


def updated(page: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page with every section made from its figures.

    Raises:
        ValueError: The page lacks a section's comments.
    """
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: made by docs/write_benchmarks.py -->", f"<!-- {name}: end -->"
        if begin not in page or end not in page:
            raise ValueError(f"{PAGE}: expected {begin} and {end}")
        before, rest = page.split(begin, 1)
        text = f"\n{make(figures[name])}\n" if name in figures else ""
        page = f"{before}{begin}\n{text}{end}{rest.split(end, 1)[1]}"
    return page


def measured() -> dict[str, dict[str, Any]]:
    """Return the figures that are there, by name."""
    files = {name: FOLDER / f"{name}.json" for name in SECTIONS}
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.exists()}


def _series(points: Sequence[Mapping[str, Any]], axis: str) -> dict[str, list[tuple[float, float]]]:
    series: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point["axis"] == axis and point["seconds"] is not None:
            series.setdefault(point["method"], []).append((point["x"], point["seconds"]))
    return series


def _setting(setting: Mapping[str, Any]) -> str:
    return "Measured with " + ", ".join(f"{key} {value}" for key, value in setting.items()) + ".\n"


def main() -> None:
    """Write the page and the chart."""
    figures = measured()
    PAGE.write_text(updated(PAGE.read_text("utf-8"), figures), encoding="utf-8")
    if figures.get("merge", {}).get("growth"):
        PICTURE.write_text(growth(figures["merge"]), encoding="utf-8")
    if "adaptive_growth" in figures:
        drawn = adaptive_growth.picture(figures["adaptive_growth"])
        ADAPTIVE_PICTURE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
