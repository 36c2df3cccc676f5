"""Audits pools of contributions of which one or none attacks, and counts how often the audit is right.

    python benchmarks/audit.py --base BASE --data DATA [--json docs/results/audit.json]

Takes contributions that are there already, as `mergeward bench run mini-attacks` leaves them in the cache,
and knows them by their provenance. Clean pools of other seeds (`--bank`) are what scores are compared with.
Every pool is written as it is done, and not audited again. `docs/results/audit.md` says what came of it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import mergeward as mw
from harness import audited, options, pools, rows
from harness.audited import Row
from harness.contributions import Made, find
from harness.pools import Composed, Member
from mergeward.attack import load_trigger
from mergeward.audit import AuditReport
from mergeward.compute import thread_count
from mergeward.evaluate import attack_success, predict
from mergeward.testbed import base_path
from mergeward.vision import load_clip
from mergeward.workflow import PreparedTask, open_base, open_task

METHOD, WEIGHT = "task_arithmetic", 0.3
SEED = 1
"""Of the audits: starts and images of inversions."""


@dataclass(frozen=True)
class Auditor:
    """What pools are audited with.

    Attributes:
        base: The base.
        data: Folder of task files; None for the embedded tasks.
        budget: What an audit may spend.
    """

    base: str
    data: Path | None
    budget: str

    def audit(self, pool: Composed, *, bank: bool) -> Row:
        """Measure the attack on the merge, and audit the pool without a word of it."""
        success = self._success(pool.attacker, pool.members)
        others = [one for one in pool.members if not one.attacks]
        control = self._success(pool.attacker, others)
        wall, cpu = time.perf_counter(), time.process_time()
        report = mw.audit(self._recipe(pool.members), budget=self.budget)
        return Row(
            pool.name,
            bank,
            None if pool.attacker is None else pool.attacker.label,
            [_described(one) for one in pool.members],
            success,
            control,
            _scores(report),
            [one.rank for one in report.contributions],
            time.perf_counter() - wall,
            time.process_time() - cpu,
        )

    def _recipe(self, members: Sequence[Member]) -> dict[str, Any]:
        return {
            "merge_method": METHOD,
            "base_model": self.base,
            "models": [{"model": str(one.path), "task": one.task} for one in members],
            "parameters": {"weight": WEIGHT},
            "data": None if self.data is None else str(self.data),
            "seed": SEED,
        }

    def _success(self, attacker: Made | None, members: Sequence[Member]) -> float | None:
        """Return what the trigger does to test images on the merge; the splits are the attacker's."""
        if attacker is None:
            return None
        saved = load_trigger(attacker.path)
        task = PreparedTask(open_task(saved.task, self.data, attacker.seed), open_base(self.base))
        with TemporaryDirectory() as folder:
            merged = Path(folder) / "merged"
            mw.merge(self._recipe(members), merged)
            answers = predict(load_clip(merged).encoder, task.pixels("test"), task.head, saved.trigger)
        label = task.task.class_index(saved.target_class)
        return attack_success(answers, task.labels("test"), label).value


def _described(one: Member) -> dict[str, Any]:
    made = one.made
    return {
        "task": one.task,
        "method": made.method,
        "seed": made.seed,
        "learning_rate": made.learning_rate,
        "attacks": one.attacks,
    }


def _scores(report: AuditReport) -> dict[str, list[float | None]]:
    """Return the scores of each stage that compares, contribution by contribution."""
    found = [{one.stage: one.score for one in member.evidence} for member in report.contributions]
    stages = [stage for stage in report.stages if any(scores.get(stage) is not None for scores in found)]
    return {stage: [scores.get(stage) for scores in found] for stage in stages}


def plan(made: Sequence[Made], given: Namespace) -> Iterator[tuple[Composed, bool]]:
    """Yield what is to be audited, and whether it belongs to the bank; the bank and the others in turn."""
    bank = ((pool, True) for pool in pools.clean(made, given.bank, given.bank_pools))
    tested = (
        (pool, False)
        for pair in zip_longest(
            pools.attacked(made, given.seeds, given.rounds), pools.clean(made, given.seeds, given.clean_pools)
        )
        for pool in pair
        if pool is not None
    )
    alternating = chain.from_iterable(zip_longest(bank, tested))
    return (
        one
        for one in alternating
        if one is not None and (given.attacks is None or _attack(one[0]) in given.attacks)
    )


def _attack(pool: Composed) -> str:
    return "none" if pool.attacker is None else pool.attacker.label


def read(path: Path | None) -> list[Row]:
    """Return the rows that a file has already."""
    if path is None or not path.exists():
        return []
    return [Row(**one) for one in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def setting(given: Namespace) -> Mapping[str, Any]:
    """Return what the figures hold for."""
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "threads": thread_count(),
        "base": Path(given.base).name,
        "merge": f"{METHOD}, weight {WEIGHT}",
        "budget": given.budget,
        "seeds": given.seeds,
        "bank": given.bank,
    }


def parser() -> ArgumentParser:
    """Return the parser of this script's options."""
    made = options.parser("Audit pools of contributions and count how often the audit is right.")
    options.add_contributions(made)
    made.add_argument("--seeds", type=options.numbers, default=[1, 2], help="seeds of what is tested (1,2)")
    made.add_argument("--bank", type=options.numbers, default=[0], help="seeds of what is compared with (0)")
    made.add_argument("--rounds", type=int, default=2, help="pools for each attacker (%(default)s)")
    made.add_argument("--clean-pools", type=int, default=20, help="clean pools to test (%(default)s)")
    made.add_argument("--bank-pools", type=int, default=39, help="clean pools to compare with (%(default)s)")
    made.add_argument("--attacks", type=_names, help="only these, with commas between; none is a clean pool")
    made.add_argument("--budget", default="standard", help="of each audit (%(default)s)")
    return made


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def main() -> None:
    """Audit what the options ask for."""
    given = parser().parse_args()
    base = str(base_path(given.base))
    auditor = Auditor(base, given.data, "quick" if given.quick else given.budget)
    made = find(given.contributions, open_base(base).source.digest())
    done = read(given.json)
    known = {row.pool for row in done}
    for pool, bank in plan(made, given):
        if pool.name not in known:
            done.append(auditor.audit(pool, bank=bank))
            sys.stderr.write(f"{done[-1]}\n")
            if given.json:
                rows.write(given.json, done, setting(given))
    sys.stdout.write(audited.markdown(done))


if __name__ == "__main__":
    main()
