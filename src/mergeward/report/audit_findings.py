"""What inversion recovered, as part of a page: pictures, and bars for each merge that leaves one out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mergeward.audit import Finding
from mergeward.report.pictures import EXAMPLE_SIDE, TRIGGER_SIDE, Picture, Pixels, picture
from mergeward.report.words import ABSENT, shortened, whole_percent

WIDTH = 560
LEFT = 170
RIGHT = 480
ROW_HEIGHT = 24
TOP = 6


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; positions are in SVG units.

    Attributes:
        name: What it stands for.
        text: Value, as shown.
        x: Left end.
        width: Length.
        y: Middle of the row.
    """

    name: str
    text: str
    x: float
    width: float
    y: float


@dataclass(frozen=True)
class FindingCard:
    """A recovered trigger as the page shows it.

    Attributes:
        title: Task and class.
        facts: Figures, as shown, by name.
        trigger: Pattern, mask, and the pattern through the mask.
        examples: Images without and with it.
        bars: How much less probable the class is without each contribution, the most telling first.
        height: Of the bar chart, in SVG units.
        description: The bars in words.
    """

    title: str
    facts: dict[str, str]
    trigger: tuple[Picture, Picture, Picture]
    examples: tuple[tuple[Picture, Picture], ...]
    bars: tuple[Bar, ...]
    height: float
    description: str


def finding_card(finding: Finding) -> FindingCard:
    """Return a recovered trigger, ready for the page."""
    shown = finding.pattern * finding.mask + (1 - finding.mask)
    name = f"recovered for {finding.class_name}"
    bars = _bars(finding)
    return FindingCard(
        title=f"{finding.task}: {finding.class_name}",
        facts=_facts(finding),
        trigger=(
            picture(_pixels(finding.pattern), TRIGGER_SIDE, f"Pattern {name}", "pattern"),
            picture(_pixels(finding.mask.expand(3, -1, -1)), TRIGGER_SIDE, f"Mask {name}", "mask"),
            picture(_pixels(shown), TRIGGER_SIDE, f"Patch {name}", "through the mask"),
        ),
        examples=tuple(_example(image, finding) for image in finding.examples),
        bars=bars,
        height=TOP + ROW_HEIGHT * len(bars),
        description="; ".join(f"{bar.name} {bar.text}" for bar in bars),
    )


def _facts(finding: Finding) -> dict[str, str]:
    fortified = finding.fortified_success
    return {
        "more probable than on the base by": f"{finding.gain:.3f}",
        "success on the merge": _rate(finding.success),
        "the same patch on the base": _rate(finding.base_success),
        **({} if fortified is None else {"on the fortified merge": _rate(fortified)}),
    }


def _bars(finding: Finding) -> tuple[Bar, ...]:
    ordered = sorted(finding.falls.items(), key=lambda item: -item[1])
    low = min(0.0, *finding.falls.values()) if ordered else 0.0
    high = max(1e-9, *finding.falls.values()) if ordered else 1.0
    scale = (RIGHT - LEFT) / (high - low)
    zero = LEFT - low * scale
    return tuple(
        Bar(
            shortened(name),
            f"{fall:+.3f}",
            round(zero + min(0.0, fall) * scale, 1),
            round(abs(fall) * scale, 1),
            TOP + (place + 0.5) * ROW_HEIGHT,
        )
        for place, (name, fall) in enumerate(ordered)
    )


def _example(image: Tensor, finding: Finding) -> tuple[Picture, Picture]:
    clean = image.float() / 255
    patched = clean * (1 - finding.mask) + finding.pattern * finding.mask
    return (
        picture(_pixels(clean), EXAMPLE_SIDE, "An image of the task", ""),
        picture(_pixels(patched), EXAMPLE_SIDE, "The same image with the patch", ""),
    )


def _pixels(image: Tensor) -> Pixels:
    return np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def _rate(rate: float | None) -> str:
    return ABSENT if rate is None else whole_percent(rate)
