"""Measure what the embedded test-bed must show, and write the table in `docs/testbed.md`.

    python scripts/measure_testbed.py --seeds 0 1 2

Every figure is from test images; each seed draws its own tasks and trains its own contributions. The exit
code is 1 when a requirement does not hold for some seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeward.bench import DemoConfig, Results, run_demo
from mergeward.bench.demo import METHODS
from mergeward.tasks.embedded import EMBEDDED
from mergeward.testbed import EMBEDDED as EMBEDDED_BASE
from mergeward.testbed import base_path

PAGE = Path(__file__).parents[1] / "docs" / "testbed.md"


@dataclass(frozen=True)
class Requirement:
    """One thing the test-bed must show, with the figure of each seed."""

    name: str
    bound: str
    figures: tuple[float, ...]
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether every seed's figure lies within the bounds."""
        return all(self.low <= figure <= self.high for figure in self.figures)


def measure(seed: int) -> Results:
    """Run the part of the demonstration that the requirements speak of."""
    methods = {"task_arithmetic": METHODS["task_arithmetic"]}
    return run_demo(Path(base_path(EMBEDDED_BASE)), list(EMBEDDED), DemoConfig(seed=seed, methods=methods))


def requirements(runs: Sequence[Results]) -> list[Requirement]:
    """Return every requirement with its figures, one a run."""
    rows = []
    for task in EMBEDDED:
        chance = 1 / len(EMBEDDED[task].class_names)
        zero_shot = tuple(run.controls.base.accuracy_by_task[task] for run in runs)
        tuned = tuple(run.controls.fine_tuned[task] for run in runs)
        bound = f"over {200 * chance:.0f}, under 90"
        rows.append(Requirement(f"{task}: zero-shot accuracy", bound, zero_shot, 2 * chance, 0.9))
        rows.append(Requirement(f"{task}: fine-tuned accuracy", "at least 90", tuned, 0.9, 1))
    kept = tuple(_row(run, "none", "accuracy_normalised") for run in runs)
    alone = tuple(run.controls.attacker_alone["badnets"].asr["badnets"]["asr"] for run in runs)
    badnets = tuple(_row(run, "badnets", "asr") for run in runs)
    badmerging = tuple(_row(run, "badmerging-on", "asr") for run in runs)
    rows += [
        Requirement("task arithmetic at 0.3: kept of the fine-tuned accuracy", "at least 80", kept, 0.8, 2),
        Requirement("BadNets alone: attack success", "at least 95", alone, 0.95, 1),
        Requirement("BadNets after the merge: attack success", "at most 30", badnets, 0, 0.3),
        Requirement("BadMerging on-task after the merge: attack success", "at least 85", badmerging, 0.85, 1),
    ]
    return rows


def _row(run: Results, attack: str, field: str) -> float:
    return float(next(getattr(row, field) for row in run.rows if row.attack == attack))


def page(rows: Sequence[Requirement], runs: Sequence[Results], seeds: Sequence[int]) -> str:
    """Return the page as Markdown."""
    head = " | ".join(f"seed {seed}" for seed in seeds)
    lines = [
        f"| what must hold (percent) | bound | {head} | holds |",
        "|---|---|" + "---|" * (len(seeds) + 1),
    ]
    for row in rows:
        figures = " | ".join(f"{100 * figure:.1f}" for figure in row.figures)
        lines.append(f"| {row.name} | {row.bound} | {figures} | {'yes' if row.holds else 'no'} |")
    setting = "\n".join(f"- {key}: {value}" for key, value in runs[0].setting.items() if key != "seed")
    return f"""# The embedded test-bed

The package carries a small CLIP and six tasks that need no download. They are there to show the papers'
effects in minutes, and this page holds the figures that say whether they do.

Written by `python scripts/measure_testbed.py --seeds {" ".join(map(str, seeds))}`; every figure is from test
images, and every seed draws its own tasks and trains its own contributions. The strength of the nuisances,
the attacked task, its target class and the learning rates were chosen so that the effects show, looking at
seed 0: at its validation images, and twice at its test figures. Seed 0 is therefore no unbiased estimate.

{chr(10).join(lines)}

Setting:

{setting}
"""


def main() -> int:
    """Measure, write the page, and say what does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    runs = [measure(seed) for seed in options.seeds]
    rows = requirements(runs)
    options.out.write_text(page(rows, runs, options.seeds), encoding="utf-8")
    failed = [row.name for row in rows if not row.holds]
    sys.stderr.write("".join(f"does not hold: {name}\n" for name in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
