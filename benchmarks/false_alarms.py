"""Counts how often clean pools that a bank has not seen raise an alarm, by audits that were made already.

    python benchmarks/false_alarms.py [docs/results/audit.json]

`benchmarks/audit.py` compares clean pools of some seeds with a bank of others. Here the two also change
places, and banks are put together anew: scores of contributions are drawn from those that they had, and of
those to each task a few make a bank's pools and one makes the pool that is judged, as a reference of so many
variants a task and a pool of nobody it knows. Audits nothing.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.audited import Bank, Row
from harness.rows import table
from mergeward.audit.clean_pools import POOLS
from mergeward.audit.reference import LEVEL
from mergeward.evaluate import Rate
from mergeward.seeding import numpy_generator

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "results" / "audit.json"
VARIANTS = (2, 3, 4, 5, 6)
DRAWS = 2000
"""References that are put together for each number of variants."""

Scores = Mapping[str, Sequence[Sequence[float]]]
"""By task, the scores that each contribution to it had."""


def exchanged(rows: Sequence[Row], stages: Sequence[str]) -> str:
    """Return the alarms of clean pools: the tested ones by the bank, and the bank's by the tested ones."""
    clean = [row for row in rows if row.attack is None]
    sides = [[row for row in clean if row.bank], [row for row in clean if not row.bank]]
    lines = []
    for bank, tested in (sides, sides[::-1]):
        for stage in stages:
            alarms = sum(bool(Bank(bank).suspects(row, stage)) for row in tested)
            rate = Rate(alarms, len(tested))
            ends = " to ".join(f"{100 * end:.0f}" for end in rate.interval)
            lines.append((stage, str(len(bank)), str(len(tested)), str(alarms), ends))
    heads = ("stage", "pools compared with", "clean pools", "with a suspect", "95 % interval, %")
    return table(heads, lines, left=(0,))


def scores_of(rows: Sequence[Row], stage: str) -> Scores:
    """Return what each clean contribution scored in every pool that it was in."""
    found: dict[str, dict[tuple[int, float], list[float]]] = {}
    for row in rows:
        for member, score in zip(row.members, row.scores[stage], strict=True):
            if not member["attacks"] and score is not None:
                which = (member["seed"], member["learning_rate"])
                found.setdefault(member["task"], {}).setdefault(which, []).append(score)
    return {task: list(own.values()) for task, own in sorted(found.items())}


def alarm_rate(scores: Scores, variants: int, draws: int = DRAWS) -> float:
    """Return the share of pools with a suspect by references of so many variants a task.

    Args:
        scores: More contributions to each task than there are variants.
        variants: How many contributions to each task the reference knows.
        draws: How many references are put together, and a pool for each.
    """
    random = numpy_generator(0, "false alarms", variants)
    alarms = 0
    for _ in range(draws):
        highest, judged = np.full(POOLS, -np.inf), -np.inf
        for own in scores.values():
            order = random.permutation(len(own))
            known, new = order[:variants], order[variants]
            highest = np.maximum(highest, _drawn(random, own, random.choice(known, POOLS)))
            judged = max(judged, *_drawn(random, own, np.array([new])))
        alarms += (1 + int((highest >= judged).sum())) / (1 + POOLS) <= LEVEL
    return alarms / draws


def _drawn(
    random: np.random.Generator, own: Sequence[Sequence[float]], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return one of the scores of each contribution that is named."""
    share = random.random(len(places))
    return np.array(
        [own[place][int(part * len(own[place]))] for place, part in zip(places, share, strict=True)]
    )


def resampled(rows: Sequence[Row], stage: str) -> str:
    """Return the share of alarms by the number of variants."""
    scores = scores_of(rows, stage)
    fewest = min(map(len, scores.values()))
    lines = [(str(count), f"{100 * alarm_rate(scores, count):.0f}") for count in VARIANTS if count < fewest]
    return table((f"variants a task, {POOLS} pools", "clean pools with a suspect, %"), lines, left=())


def main() -> None:
    """Count what the figures of audits say."""
    made = ArgumentParser(description="Count the alarms of clean pools, by audits made already.")
    made.add_argument("figures", type=Path, nargs="?", default=FIGURES, help="(%(default)s)")
    content = json.loads(made.parse_args().figures.read_text(encoding="utf-8"))
    rows = [Row(**one) for one in content["rows"]]
    stages = list(rows[0].scores)
    sys.stdout.write(f"{exchanged(rows, stages)}\n{resampled(rows, stages[-1])}")


if __name__ == "__main__":
    main()
