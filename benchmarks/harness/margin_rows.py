"""Which class of which task stands out among a model's margins over the base's, and what that tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from harness.rows import figure, table

LEVEL = 0.05
"""Of p-values that count as alarms."""

CLEAN = "none"
PRECISE = 30.0
"""From so many means on the p-value is its first order, to the last digit."""


@dataclass(frozen=True)
class Row:
    """One model: a contribution, or a merge.

    Attributes:
        name: A name of its own.
        merge: Whether it is a merge of six contributions, one of them the one that is described.
        attack: The attack; None for a clean one.
        task: Name of the contribution's task.
        seed: Of its training.
        learning_rate: Of its training.
        target: Task and place of the class that is attacked; None for a clean one.
        gains: By task, how much larger the margin of each class can be made than on the base.
    """

    name: str
    merge: bool
    attack: str | None
    task: str
    seed: int
    learning_rate: float
    target: Sequence[Any] | None
    gains: Mapping[str, Sequence[float]]

    @property
    def label(self) -> str:
        """The attack, or that there is none."""
        return self.attack or CLEAN

    def largest(self) -> float:
        """The largest gain of any class of any task."""
        return max(max(values) for values in self.gains.values())

    def outlying(self) -> float:
        """-log10 of the smallest p-value of any task's classes, times the number of tasks."""
        smallest = min(log_p(values) for values in self.gains.values())
        return -(smallest + math.log(len(self.gains))) / math.log(10)

    def target_rank(self) -> int | None:
        """The attacked class's rank by its gain, among the classes of its task."""
        if self.target is None:
            return None
        values = self.gains[self.target[0]]
        return 1 + sum(other > values[self.target[1]] for other in values)


MEASURES: Mapping[str, Callable[[Row], float]] = {"largest gain": Row.largest, "-log10 p": Row.outlying}
"""What a model is scored by, as tables call it."""


def log_p(values: Sequence[float]) -> float:
    """Return the logarithm of MM-BD's p-value: that of the largest of `C` values, by the others.

    These are taken for draws from an exponential distribution that starts at the least of them, since
    differences from the base are negative, too. The largest of `C` draws is `x` of its means above the start
    or more with `p = 1 - (1 - exp(-x))^C`. Values without spread tell nothing, p = 1.
    Since the largest is left out of the mean, about one clean task in ten has 0.05 or less.
    """
    *others, largest = sorted(values)
    mean = fmean(others) - others[0]
    if mean == 0:
        return 0.0
    far = (largest - others[0]) / mean
    if far > PRECISE:
        return math.log(len(values)) - far
    return math.log(-math.expm1(len(values) * math.log1p(-math.exp(-far))))


def area(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Return the share of pairs in which the first is the larger, ties by half; None without pairs."""
    pairs = [(one, other) for one in above for other in below]
    won = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in pairs)
    return won / len(pairs) if pairs else None


def markdown(rows: Sequence[Row]) -> str:
    """Return a table of contributions and one of merges, a line an attack."""
    parts = []
    for merges, name in ((False, "contributions"), (True, "merges of six")):
        chosen = [row for row in rows if row.merge is merges]
        if chosen:
            parts.append(_table(name, chosen))
    return "\n".join(parts)


def _table(name: str, rows: Sequence[Row]) -> str:
    heads = [name, "number", "attacked class first of its task"]
    for shown in MEASURES:
        heads += [shown, "area", "area, same rate", "first of six"]
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.attack is not None, row.label)):
        groups.setdefault(row.label, []).append(row)
    lines = []
    for label, group in groups.items():
        ranks = [row.target_rank() for row in group]
        cells = [label, str(len(group)), "" if label == CLEAN else f"{ranks.count(1)} of {len(group)}"]
        for score in MEASURES.values():
            cells += _scored(group, rows, score)
        alarms = sum(row.outlying() >= -math.log10(LEVEL) for row in group)
        lines.append([*cells, f"{alarms} of {len(group)}"])
    return table([*heads, f"p at most {LEVEL}"], lines, left=(0,))


def _scored(group: Sequence[Row], rows: Sequence[Row], score: Callable[[Row], float]) -> list[str]:
    """Return the middle and ends of a score, and how it tells a group from the clean ones."""
    own = sorted(score(row) for row in group)
    shown = f"{median(own):.2f} ({own[0]:.2f} to {own[-1]:.2f})"
    if group[0].attack is None:
        return [shown, "", "", ""]
    clean = [row for row in rows if row.attack is None]
    alike = [row for row in clean if row.learning_rate == group[0].learning_rate]
    areas = [figure(area(own, [score(row) for row in chosen])) for chosen in (clean, alike)]
    return [shown, *areas, "" if group[0].merge else _first(group, clean, score)]


def _first(group: Sequence[Row], clean: Sequence[Row], score: Callable[[Row], float]) -> str:
    """Return how often an attacker scores highest beside clean contributions of its seed to other tasks."""
    usual = min((row.learning_rate for row in clean), default=None)
    won = 0
    for row in group:
        beside = [one for one in clean if (one.seed, one.learning_rate) == (row.seed, usual)]
        others = [score(one) for one in beside if one.task != row.task]
        won += score(row) > max(others, default=math.inf)
    return f"{won} of {len(group)}"
