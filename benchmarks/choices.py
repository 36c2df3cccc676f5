"""Measures what accounts of DAM's paper leave open, one choice at a time, on validation images.

    python benchmarks/choices.py [--base DIR --data DIR --tasks A,B,...] [--seeds 3] [--json FILE]

Every merge has the same contributions, one of them backdoored, and differs from the defaults of `variant:
paper` in one choice. Finished merges are kept and not made again. See `docs/benchmarks.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, pool
from harness.pool import Pool
from harness.rows import figure, table
from mergeward.workflow import merge

LEARNING = {
    "step_sizes": "one_cycle",
    "mask_lr": 0.1,
    "base_lr": 0.02,
    "coefficient_lr": 0.02,
    "adv_lr": 5e-3,
    "precision": "bfloat16",
}
"""How all of them learn: in 20 steps everything comes about as far as in 1,000 of the defaults' size."""

DEFAULTS = "the defaults"
CHOICES: Mapping[str, Mapping[str, Any]] = {
    DEFAULTS: {},
    "L_safe: entropy on perturbed images": {"safe_loss": "entropy"},
    "the Task-Shared mask sees L_safe, too": {"shared_loss": "total"},
    "perturbation within 2/255": {"adv_bound": 2 / 255},
    "perturbation within 32/255": {"adv_bound": 32 / 255},
    "no AdaMerging at the end": {"coefficient_steps": 0},
    "one draw of the final masks": {"final_mask": "sample"},
}
"""What differs from the defaults, by what to call it."""

SPLIT = "validation"
FIGURES = ("accuracy", "attack_success")


@dataclass(frozen=True)
class Choices:
    """Merges of one pool.

    Attributes:
        pool: What is merged.
        steps: Steps of each stage.
        folder: Where the merges are kept.
    """

    pool: Pool
    steps: int
    folder: Path

    def measured(self, name: str, seed: int) -> dict[str, float]:
        """Return accuracy and attack success, on validation images, of the merge with one choice."""
        parameters = {
            **LEARNING,
            "steps": self.steps,
            "coefficient_steps": self.steps,
            **CHOICES[name],
        }
        place = self.folder / f"{self.steps}-{list(CHOICES).index(name)}-{seed}"
        if not place.exists():
            merge({**self.pool.recipe(parameters), "seed": seed}, place, resume=True)
        found = self.pool.measured(place, (SPLIT,))
        sys.stderr.write(f"{name}, seed {seed}: {found}\n")
        return {one: found[one][SPLIT] for one in FIGURES}


def markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of all bases."""
    parts = []
    for name, one in content.items():
        found = one["found"]
        lines = [_cells(choice, runs, found[DEFAULTS]) for choice, runs in found.items()]
        setting = ", ".join(f"{key} {value}" for key, value in one["setting"].items())
        heads = ("choice", "accuracy, %", "to the defaults", "from", "to", "attack success, %")
        parts += [f"Base `{name}`:\n", table(heads, lines, left=(0,)), f"Measured with {setting}.\n"]
    return "\n".join(parts)


def _cells(
    choice: str, runs: Sequence[Mapping[str, float]], defaults: Sequence[Mapping[str, float]]
) -> tuple[str, ...]:
    """Return the means over the seeds; differences are those of the same seed, their mean and extremes."""
    accuracy, success = ([100 * one[key] for one in runs] for key in FIGURES)
    apart = [own - 100 * other["accuracy"] for own, other in zip(accuracy, defaults, strict=True)]
    shown = (None,) * 3 if choice == DEFAULTS else (fmean(apart), min(apart), max(apart))
    return (choice, *(figure(value, digits=1) for value in (fmean(accuracy), *shown, fmean(success))))


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Measure what accounts of DAM's paper leave open.", repeated=False)
    pool.add_options(parser)
    parser.add_argument("--steps", type=options.positive, default=20, help="of each stage (%(default)s)")
    parser.add_argument("--seeds", type=options.positive, default=3, help="of every merge (%(default)s)")
    given = parser.parse_args()
    chosen = pool.chosen(given)
    steps, seeds = (2, 1) if given.quick else (given.steps, given.seeds)
    choices = Choices(chosen, steps, chosen.folder / "choices")
    content = {
        "setting": {**pool.setting(chosen), "steps": steps, "seeds": seeds},
        "found": {name: [choices.measured(name, seed) for seed in range(seeds)] for name in CHOICES},
    }
    sys.stdout.write(markdown({chosen.name: content}))
    if given.json:
        pool.add(given.json, chosen.name, content)


if __name__ == "__main__":
    main()
