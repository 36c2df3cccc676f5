"""The curve over alpha: a table for terminals, and a picture of accuracy against attack success as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rich import box
from rich.table import Table

from mergeward.report.words import label, percent
from mergeward.workflow.curve import Measured, Tradeoff

WIDTH, HEIGHT = 560, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 530, 74, 366

STYLE = """
:root { --ground: #ffffff; --text: #1c1d20; --muted: #5c6068; --line: #d9dadd; --mark: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --text: #e6e7ea; --muted: #a2a7b0;
  --line: #33373e; --mark: #56b4e9; } }
text { fill: var(--text); font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.ground { fill: var(--ground); }
.heading { font-weight: 600; font-size: 15px; }
.muted { fill: var(--muted); font-size: 12px; }
.grid { stroke: var(--line); }
.curve { fill: none; stroke: var(--mark); stroke-width: 1.5; }
.interval { stroke: var(--mark); stroke-width: 1; opacity: 0.6; }
.merge { fill: var(--mark); }
.control { fill: none; stroke: var(--text); stroke-width: 1.5; }
"""


def tradeoff_table(found: Tradeoff) -> Table:
    """Return the curve as a table for a terminal, in percent."""
    base = percent(found.base.attack_success.value)
    caption = (
        f"percent of {found.split} images, with 95 % intervals; control: the same trigger on the merge with "
        f"the clean contribution; on the base alone: {base}"
    )
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    for head in ("alpha", "accuracy", "attack success", "control accuracy", "control"):
        table.add_column(head, justify="right")
    for point in found.points:
        control = ("", "") if point.control is None else _cells(point.control)
        table.add_row(f"{point.alpha:g}", *_cells(point.merge), *control)
    return table


def tradeoff_svg(found: Tradeoff) -> str:
    """Return the picture: a dot for each alpha with its intervals, joined in order; controls as rings."""
    merges = [point.merge for point in found.points]
    controls = [point.control for point in found.points if point.control is not None]
    x = _Axis.over([end for one in (*merges, *controls) for end in one.attack_success.interval], LEFT, RIGHT)
    y = _Axis.over([end for one in (*merges, *controls) for end in one.mean_interval], BOTTOM, TOP)
    parts = [
        *_frame(found, x, y),
        *(f'<circle class="control" cx="{a:g}" cy="{b:g}" r="6"/>' for a, b in _places(controls, x, y)),
        *_curve(found, x, y),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">\n<title>{escape(_description(found))}</title>\n'
        f'<style>{STYLE}</style>\n<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


@dataclass(frozen=True)
class _Axis:
    """Rates from `low` to `high`, in steps, drawn from `start` to `end`."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def over(cls, rates: Sequence[float], start: float, end: float) -> _Axis:
        spread = max(rates) - min(rates)
        step = next((size for size in (0.01, 0.02, 0.05, 0.1) if spread <= 6 * size), 0.2)
        low = max(0.0, math.floor(min(rates) / step) * step)
        return cls(low, min(1.0, max(math.ceil(max(rates) / step) * step, low + step)), step, start, end)

    def place(self, rate: float) -> float:
        share = (rate - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        return [
            self.low + self.step * index for index in range(round((self.high - self.low) / self.step) + 1)
        ]


def _places(measured: Sequence[Measured], x: _Axis, y: _Axis) -> list[tuple[float, float]]:
    return [(x.place(one.attack_success.value), y.place(one.mean_accuracy)) for one in measured]


def _frame(found: Tradeoff, x: _Axis, y: _Axis) -> Iterator[str]:
    title = f"{label(found.method)} by alpha, under {label(found.trigger.attack)}"
    yield f'<text class="heading" x="{LEFT}" y="28">{escape(title)}</text>'
    hollow = "; rings: with the clean contribution" if found.points[0].control is not None else ""
    yield f'<text class="muted" x="{LEFT}" y="48">{found.split} images, 95 % intervals{hollow}</text>'
    for rate in x.ticks():
        at = x.place(rate)
        yield f'<line class="grid" x1="{at:g}" x2="{at:g}" y1="{TOP}" y2="{BOTTOM}"/>'
        yield f'<text class="muted" x="{at:g}" y="{BOTTOM + 18}" text-anchor="middle">{100 * rate:.0f}</text>'
    for rate in y.ticks():
        at = y.place(rate)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:g}" y2="{at:g}"/>'
        yield f'<text class="muted" x="{LEFT - 8}" y="{at + 4:g}" text-anchor="end">{100 * rate:.0f}</text>'
    middle = (LEFT + RIGHT) / 2
    yield f'<text x="{middle:g}" y="{BOTTOM + 40}" text-anchor="middle">attack success, %</text>'
    turned = f'transform="rotate(-90 20 {(TOP + BOTTOM) / 2:g})"'
    yield f'<text x="20" y="{(TOP + BOTTOM) / 2:g}" text-anchor="middle" {turned}>mean accuracy, %</text>'


def _curve(found: Tradeoff, x: _Axis, y: _Axis) -> Iterator[str]:
    points = sorted(found.points, key=lambda point: point.alpha)
    places = _places([point.merge for point in points], x, y)
    yield f'<polyline class="curve" points="{" ".join(f"{a:g},{b:g}" for a, b in places)}"/>'
    for point, (a, b) in zip(points, places, strict=True):
        left, right = map(x.place, point.merge.attack_success.interval)
        low, high = map(y.place, point.merge.mean_interval)
        yield f'<line class="interval" x1="{left:g}" x2="{right:g}" y1="{b:g}" y2="{b:g}"/>'
        yield f'<line class="interval" x1="{a:g}" x2="{a:g}" y1="{low:g}" y2="{high:g}"/>'
        yield f'<circle class="merge" cx="{a:g}" cy="{b:g}" r="4.5"/>'
        yield f'<text x="{a + 7:g}" y="{b - 7:g}">{point.alpha:g}</text>'


def _description(found: Tradeoff) -> str:
    values = "; ".join(
        f"alpha {point.alpha:g}: accuracy {percent(point.merge.mean_accuracy)}, "
        f"attack success {percent(point.merge.attack_success.value)}"
        for point in found.points
    )
    return f"Accuracy against attack success of {label(found.method)}, percent. {values}."


def _cells(measured: Measured) -> tuple[str, str]:
    return (
        _cell(measured.mean_accuracy, measured.mean_interval),
        _cell(measured.attack_success.value, measured.attack_success.interval),
    )


def _cell(rate: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{percent(rate)} [{percent(low)} to {percent(high)}]"
