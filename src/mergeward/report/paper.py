"""What is reported of papers beside what a run found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, Field

from mergeward.bench.estimate import Estimate
from mergeward.bench.summary import Line

LARGE = 0.1
"""Differences beyond this, and beyond the run's interval, are called out."""


class Figure(BaseModel):
    """One figure of a paper.

    Attributes:
        attack: As suites call it.
        method: As suites call it.
        defense: As suites call it.
        measure: "success" or "accuracy".
        percent: The figure.
        at_most: Whether the paper says no more than that it is not above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attack: str
    method: str
    defense: str = "none"
    measure: str
    percent: float = Field(ge=0, le=100)
    at_most: bool = False

    @property
    def rate(self) -> float:
        """The figure, between 0 and 1."""
        return self.percent / 100


class Paper(BaseModel):
    """Figures of one setting of a paper.

    Attributes:
        paper: Its name and where it is.
        second_hand: Whether the figures were read in accounts of the paper, not in the paper itself.
        setting: What the figures are of.
        figures: Them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str
    second_hand: bool = False
    setting: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Comparison:
    """A figure of a paper and that of a run.

    Attributes:
        paper: Where the figure is from.
        figure: It.
        here: What the run found.
        difference: By how much that is more; None where it keeps the paper's bound.
    """

    paper: Paper
    figure: Figure
    here: Estimate
    difference: float | None

    @property
    def is_large(self) -> bool:
        """Whether the difference is large, and the paper's figure not in the run's interval."""
        outside = not self.here.low <= self.figure.rate <= self.here.high
        return outside and self.difference is not None and abs(self.difference) > LARGE


def comparisons(lines: Sequence[Line]) -> tuple[Comparison, ...]:
    """Return the papers' figures for which a run has one at no place of any axis."""
    attacked = {
        (line.attack, line.method, line.defense): line
        for line in lines
        if line.kind == "attacked merge" and not line.axes
    }
    return tuple(_found(attacked))


def _found(attacked: dict[tuple[str, str, str], Line]) -> Iterator[Comparison]:
    for paper in papers():
        for figure in paper.figures:
            line = attacked.get((figure.attack, figure.method, figure.defense))
            here = None if line is None else line.success if figure.measure == "success" else line.accuracy
            if here is not None:
                kept = figure.at_most and here.mean <= figure.rate
                yield Comparison(paper, figure, here, None if kept else here.mean - figure.rate)


@cache
def papers() -> tuple[Paper, ...]:
    """Return the figures of papers that are known here."""
    text = resources.files("mergeward.report").joinpath("papers.yaml").read_text(encoding="utf-8")
    return tuple(Paper.model_validate(entry) for entry in yaml.safe_load(text))
