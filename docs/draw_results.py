"""Draws the measured results into the documentation: `python docs/draw_results.py`.

Reads `docs/results/attacks.sqlite` and `docs/results/fortify.sqlite`, runs of the suites `mini-attacks` and
`mini-fortify` on the same contributions of real images, and makes from them

- `docs/assets/results.svg`: accuracy and attack success of BadNets and BadMerging under every merge, beside
  the clean merge;
- the section between the two comments in `README.md`: that picture, the findings in words, the table of all
  attacks.

A test holds both files to what this script makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import svg
from matrix import ATTACKED, CLEAN, table

from mergeward.bench import Controls, Results, Row
from mergeward.bench.estimate import Estimate
from mergeward.bench.results import Control
from mergeward.bench.store import read_run
from mergeward.bench.summary import Line, summarise
from mergeward.report import chart
from mergeward.report.headline import findings
from mergeward.report.words import label

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "docs" / "results"
PICTURE = REPOSITORY / "docs" / "assets" / "results.svg"
README = REPOSITORY / "README.md"

BEGIN = "<!-- results: made by docs/draw_results.py -->"
END = "<!-- results: end -->"

SHOWN = ("badnets", "badmerging-on")
"""The attacks of the picture and the findings."""

MARGIN = 20
GAP = 40
TITLE = 46
LEGEND = 34
WIDTH = 2 * chart.WIDTH + GAP + 2 * MARGIN

STYLE = """
:root { --ground: #ffffff; --text: #1c1d20; --muted: #5c6068; --line: #d9dadd; --strong-line: #9a9da5;
  --accuracy: #0072b2; --success: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e6e7ea; --muted: #a2a7b0;
  --line: #33373e; --strong-line: #6a707b; --accuracy: #56b4e9; --success: #f0803c; } }
text { fill: var(--text); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; font-variant-numeric: tabular-nums; }
.ground { fill: var(--ground); }
.heading { font-weight: 600; font-size: 15px; }
.measure, text.axis { fill: var(--muted); }
text.axis { font-size: 11.5px; }
.tick { stroke: var(--line); }
.shift { stroke: var(--strong-line); stroke-width: 1.5; }
.control { fill: none; stroke: var(--text); stroke-width: 1.5; }
.accuracy .measured { fill: var(--accuracy); }
.success .measured { fill: var(--success); }
.interval { stroke: var(--success); stroke-width: 3.5; stroke-linecap: round; opacity: 0.55; }
"""


def load(path: Path) -> Results:
    """Return the results that `mergeward demo --json` wrote, without pictures."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        rows=tuple(Row(**row) for row in content["rows"]),
        controls=_controls(content["controls"]),
        setting=content["setting"],
    )


def _controls(content: Mapping[str, Any]) -> Controls:
    def by_name(key: str) -> dict[str, Control]:
        return {name: Control(**entry) for name, entry in content[key].items()}

    return Controls(
        base=Control(**content["base"]),
        fine_tuned=content["fine_tuned"],
        attacker_alone=by_name("attacker_alone"),
        clean_merge=by_name("clean_merge"),
        clean_retrain=by_name("clean_retrain"),
    )


def _row(line: Line) -> Row:
    return Row(
        attack=line.attack,
        method=line.method,
        accuracy=line.accuracy.mean,
        accuracy_normalised=float("nan"),
        accuracy_by_task=_means(line),
        target_task=line.tasks[0],
        **_ends(line.success),
        seconds=line.merge_seconds or 0.0,
    )


def _means(line: Line) -> dict[str, float]:
    return {task: rate.mean for task, rate in line.accuracy_by_task.items()}


def _ends(rate: Estimate | None) -> dict[str, float]:
    if rate is None:
        raise ValueError("an attack without its success")
    return {"asr": rate.mean, "asr_low": rate.low, "asr_high": rate.high}


def picture(results: Results) -> str:
    """Return the charts of every attack as one SVG file, drawn as the report's page draws them."""
    parts, y = list(_legend()), float(MARGIN + LEGEND)
    for one in chart.charts(results):
        parts.append(f'<text class="heading" x="{MARGIN}" y="{y + 14:g}">{escape(one.title)}</text>')
        for column, panel in enumerate(one.panels):
            x = MARGIN + column * (chart.WIDTH + GAP)
            parts.append(
                f'<text class="measure" x="{x + chart.PLOT_LEFT}" y="{y + 34:g}">{escape(panel.title)}</text>'
            )
            place = {"x": x, "y": y + TITLE - 4, "width": chart.WIDTH, "height": panel.height}
            parts.append(svg.placed("panel", (panel, chart), **place))
        y += TITLE + max(panel.height for panel in one.panels) + MARGIN / 2
    height = y + MARGIN / 2
    return svg.document(WIDTH, height, STYLE, parts)


def _legend() -> Iterator[str]:
    y = MARGIN + 8
    for x, kind in ((MARGIN + 8, "accuracy"), (MARGIN + 24, "success")):
        yield f'<g class="{kind}"><circle class="measured" cx="{x}" cy="{y}" r="4.5"/></g>'
    yield f'<text x="{MARGIN + 36}" y="{y + 4}">with the attacker’s contribution</text>'
    yield f'<circle class="control" cx="{MARGIN + 270}" cy="{y}" r="6"/>'
    yield f'<text x="{MARGIN + 284}" y="{y + 4}">control: only clean contributions, same trigger</text>'
    yield f'<line class="interval" x1="{MARGIN + 610}" x2="{MARGIN + 632}" y1="{y}" y2="{y}"/>'
    yield f'<text x="{MARGIN + 644}" y="{y + 4}">95 % interval</text>'


def measured() -> list[Line]:
    """Return the lines of every merge: the published ones, and beside them the fortified one."""
    lines = list(summarise(read_run(RESULTS / "attacks.sqlite")))
    attacks = {line.attack for line in lines}
    fortified = summarise(read_run(RESULTS / "fortify.sqlite"))
    return lines + [
        line
        for line in fortified
        if line.method == "fortify" and line.kind in (ATTACKED, CLEAN) and line.attack in attacks
    ]


def headline_results(lines: Sequence[Line]) -> Results:
    """Return the attacks that are shown as results of one run, each figure the mean over seeds.

    Args:
        lines: Of attacks against merges, without axes.
    """
    clean: dict[str, list[Line]] = {}
    for line in lines:
        if line.kind == CLEAN:
            clean.setdefault(line.method, []).append(line)
    controls = {
        method: Control(
            group[0].accuracy.mean, _means(group[0]), {line.trigger: _ends(line.success) for line in group}
        )
        for method, group in clean.items()
    }
    base = next(line for line in lines if line.kind == "base")
    alone = {
        line.attack: Control(line.accuracy.mean, _means(line), {line.attack: _ends(line.success)})
        for line in lines
        if line.kind == "attacker alone" and line.attack in SHOWN
    }
    return Results(
        tuple(_row(line) for line in lines if line.kind == ATTACKED and line.attack in SHOWN),
        Controls(Control(base.accuracy.mean, _means(base), {}), {}, alone, controls, {}),
        {},
    )


def section(lines: Sequence[Line]) -> str:
    """Return what the README says of the results."""
    said = "\n".join(f"- **{one.subject}** {one.statement}" for one in findings(headline_results(lines)))
    shown = [line for line in lines if line.kind != ATTACKED or line.attack in SHOWN]
    return f"""
## Results

Six contributions to a small CLIP, one of them backdoored, on real images (MNIST, EuroSAT, GTSRB,
Fashion-MNIST, CIFAR-10, DTD), means over {_seeds(lines)}:

![Accuracy and attack success of every merge, beside the clean merge](docs/assets/results.svg)

{said}

Attack success, %, after each merge; in brackets that of the same trigger on the clean merge, the control.
The first column is the other control, the base before anything is merged into it:

{table(lines, "success", intervals=False)}
Accuracy, %:

{table(shown, "accuracy", intervals=False)}
Intervals, costs, every control and the commands: [attacks](docs/results/attacks.md) and
[fortified merges](docs/results/fortify.md); which claims of the papers hold here, and what the figures do
not show: [results](docs/results/index.md).

"""


def _seeds(lines: Sequence[Line]) -> str:
    """Return over how many seeds the figures of merges are, and those of which merge are over fewer."""
    counts = {line.method: line.accuracy.seeds for line in lines if line.kind == ATTACKED}
    usual = max(counts.values())
    fewer = [f"{label(method)}: {count}" for method, count in counts.items() if count < usual]
    return f"{usual} seeds" + (f" ({', '.join(fewer)})" if fewer else "")


def updated(readme: str, lines: Sequence[Line]) -> str:
    """Return the README with the section of these results between its two comments."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: expected {BEGIN} and, after it, {END}")
    return f"{before}{BEGIN}\n{section(lines)}{END}{after}"


def main() -> None:
    """Bring the picture and the README up to date."""
    lines = measured()
    PICTURE.write_text(picture(headline_results(lines)), encoding="utf-8")
    README.write_text(updated(README.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()
