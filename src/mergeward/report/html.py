"""One HTML file that shows a whole run and asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from mergeward.bench.results import Results
from mergeward.output import replaced
from mergeward.report import chart, grid, headline, pictures, reading
from mergeward.report.choices import choices
from mergeward.report.words import enumeration, label


def write_page(results: Results, path: Path) -> None:
    """Write results as one self-contained HTML page: tables, charts, triggers, examples, controls.

    The page is written under a temporary name and renamed, so that an interrupted run leaves the old page or
    none. An existing page is replaced; missing parent folders are made. Equal results give equal bytes.

    Args:
        results: A whole run with at least one row, every attacked row with its control.
        path: The file to write.

    Raises:
        OutputError: The file cannot be written.
        KeyError: A control is missing; numbers are not reported without it.

    Example:
        >>> write_page(results, Path("demo-output/index.html"))  # doctest: +SKIP
    """
    write_text(path, _render(results))


def environment() -> jinja2.Environment:
    """Return what templates of pages are rendered in; everything from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeward", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["label"] = label
    environment.filters["enumeration"] = enumeration
    return environment


def assets(*more: str) -> dict[str, Any]:
    """Return the style and the scripts of pages, and the policy under which a page runs these and no others.

    Args:
        more: Scripts of this package that the page needs besides, in order. Those that draw charts make
            pictures to be saved, within the page (`blob:`).
    """
    scripts = [_asset(name) for name in ("page.js", *more)]
    allowed = " ".join(f"'{_integrity(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; img-src data:{' blob:' if more else ''}; style-src 'unsafe-inline'; "
        f"script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": _asset("page.css"), "scripts": scripts, "policy": policy}


def _render(results: Results) -> str:
    results_grid = grid.results_grid(results)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            results=results,
            findings=headline.findings(results),
            results_grid=results_grid,
            choices=choices(results_grid),
            controls_grid=grid.controls_grid(results),
            tasks_grid=grid.tasks_grid(results),
            attacks=reading.attacks(results),
            methods=reading.methods(results),
            tasks=reading.tasks(results),
            charts=chart.charts(results),
            axis=chart,
            cards=[
                pictures.attack_card(entry, reading.target_tasks(entry.attack, results))
                for entry in results.pictures
            ],
            json_address=json_address(results.to_json()),
            **assets(),
        )
    )


def _asset(name: str) -> str:
    return resources.files("mergeward.report").joinpath(name).read_text(encoding="utf-8")


def _integrity(script: str) -> str:
    """Return the hash by which a page's policy knows a script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def json_address(content: Any) -> str:
    """Return an address that holds content as JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"data:application/json;base64,{base64.b64encode(text.encode()).decode('ascii')}"


def write_text(path: Path, text: str) -> None:
    """Write a page whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with replaced(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")
