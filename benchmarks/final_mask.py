"""Measures what drawing DAM's final masks does, beside taking their expectation.

    python benchmarks/final_mask.py [--base DIR --data DIR --tasks A,B,...] [--variant paper] [--json FILE]

The masks are learnt once, in few and large steps. Each merge then uses them again, and differs by the form
that they have in the end alone. Finished merges are kept and not made again. See `docs/benchmarks.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, pool
from harness.pool import Pool
from harness.rows import figure, table
from mergeward.workflow import merge

LEARNING = {"step_sizes": "one_cycle", "mask_lr": 0.1, "precision": "bfloat16", "coefficient_steps": 0}
"""How the masks are learnt: in 20 steps their logits come about as far as in 1,000 of the released size."""

SPLIT = "test"


@dataclass(frozen=True)
class Masks:
    """Masks that are learnt once, and merges with them.

    Attributes:
        pool: What is merged.
        variant: DAM's variant, which decides how many masks there are.
        steps: Steps that they are learnt in.
        folder: Where the merges are kept.
    """

    pool: Pool
    variant: str
    steps: int
    folder: Path

    def measured(self, final: str, seed: int) -> dict[str, float]:
        """Return accuracy and attack success of the merge with the masks in one final form."""
        parameters = {"variant": self.variant, "final_mask": final, "coefficient_steps": 0}
        recipe = {**self.pool.recipe(parameters), "masks": str(self._learnt()), "seed": seed}
        found = self.pool.measured(self._merged(f"{final}-{seed}", recipe), (SPLIT,))
        return {name: by_split[SPLIT] for name, by_split in found.items()}

    def _learnt(self) -> Path:
        parameters = {**LEARNING, "variant": self.variant, "steps": self.steps}
        return self._merged("learnt", self.pool.recipe(parameters))

    def _merged(self, name: str, recipe: Mapping[str, Any]) -> Path:
        place = self.folder / f"{self.variant}-{self.steps}-{name}"
        return place if place.exists() else merge(recipe, place, resume=True).out


def markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of all bases."""
    heads = ("final masks", "merges", "accuracy, %", "deviation", "attack success, %", "deviation")
    parts = []
    for name, one in content.items():
        lines = [_cells(final, found) for final, found in one["final"].items()]
        setting = ", ".join(f"{key} {value}" for key, value in one["setting"].items())
        parts += [f"{name}:\n", table(heads, lines, left=(0,)), f"Measured with {setting}.\n"]
    return "\n".join(parts)


def _cells(final: str, found: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    cells = [final, str(len(found))]
    for rate in ("accuracy", "attack_success"):
        values = [100 * one[rate] for one in found]
        cells += [figure(fmean(values)), figure(stdev(values) if values[1:] else None)]
    return tuple(cells)


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Measure what drawing DAM's final masks does.", repeated=False)
    pool.add_options(parser)
    parser.add_argument(
        "--variant", default="released", choices=("released", "paper"), help="of DAM (%(default)s)"
    )
    parser.add_argument(
        "--steps", type=options.positive, default=20, help="that the masks are learnt in (%(default)s)"
    )
    parser.add_argument("--draws", type=options.positive, default=5, help="draws, a seed each (%(default)s)")
    given = parser.parse_args()
    chosen = pool.chosen(given)
    steps, draws = (2, 2) if given.quick else (given.steps, given.draws)
    masks = Masks(chosen, given.variant, steps, chosen.folder / "final-mask")
    content = {
        "setting": {**pool.setting(chosen), "steps": steps},
        "final": {
            "expectation": [masks.measured("expectation", 0)],
            "one draw": [masks.measured("sample", seed) for seed in range(draws)],
        },
    }
    name = f"{chosen.name}, {given.variant}"
    sys.stdout.write(markdown({name: content}))
    if given.json:
        pool.add(given.json, name, content)


if __name__ == "__main__":
    main()
