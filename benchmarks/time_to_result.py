"""Looks for the shortest DAM that comes to the result of the released settings.

    python benchmarks/time_to_result.py [--base DIR --data DIR --tasks A,B,...] [--steps 1000] [--json FILE]

The released settings and shorter ones merge the same contributions, one of them backdoored. Validation images
decide which are as good. Every finished merge is kept and not made again, and an interrupted one goes on.
What is compared, and how, is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, pool
from harness.pool import Pool
from harness.rows import figure, table
from mergeward import progress
from mergeward.workflow import merge

MARGIN = 0.005
"""How much worse than the released settings a share may be, and still count as the same."""

STAGES = {"masks": "performance", "coefficients": "coefficients"}
"""The stages of DAM, each with a part of its loss, whose length says how many steps it took."""

RELEASED: Mapping[str, Any] = {"variant": "released"}
LEARNING_RATES = {"mask_lr": 1e-3, "coefficient_lr": 1e-3, "adv_lr": 1e-4}
"""Step sizes of the released settings, which shorter settings make larger."""


@dataclass(frozen=True)
class Setting:
    """A way to run DAM.

    Attributes:
        name: What to call it.
        divisor: How many times fewer steps than the released settings it takes at most.
        stretch: Factor of the step sizes beside `divisor`; None leaves them as released.
        parameters: Those that differ from the released ones besides.
        eligible: Whether it is a way to the same result, or there to be compared with.
    """

    name: str
    divisor: int
    stretch: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    eligible: bool = True

    def all_parameters(self, steps: int) -> dict[str, Any]:
        """Return the parameters of DAM, where the released settings take `steps` steps a stage."""
        taken = max(1, steps // self.divisor)
        larger = self.divisor * (self.stretch or 0.0)
        rates = {name: rate * larger for name, rate in LEARNING_RATES.items()} if larger else {}
        return {**RELEASED, "steps": taken, "coefficient_steps": taken, **rates, **self.parameters}


FAST = {"precision": "bfloat16"}
ONE_CYCLE = {**FAST, "step_sizes": "one_cycle"}
REFERENCE = Setting("released settings", 1)
SETTINGS = (
    Setting("no steps", 1, None, {"steps": 0, "coefficient_steps": 0}, eligible=False),
    Setting("released, cut short 20 times", 20, None, FAST, eligible=False),
    Setting("one cycle, 50 times fewer steps", 50, 2.0, ONE_CYCLE),
    Setting("one cycle, 20 times fewer steps", 20, 2.0, ONE_CYCLE),
    Setting("one cycle, 10 times fewer steps", 10, 2.0, ONE_CYCLE),
    Setting("one cycle, 5 times fewer steps", 5, 2.0, ONE_CYCLE),
    Setting("larger steps, 20 times fewer", 20, 1.0, FAST),
    Setting("larger steps, 10 times fewer", 10, 1.0, FAST),
    Setting("larger steps until the loss settles", 5, 2.0, {**FAST, "patience": 10}),
    Setting("paper, one cycle, 20 times fewer steps", 20, 2.0, {**ONE_CYCLE, "variant": "paper"}),
)
"""What is tried beside the released settings."""


class Stopwatch:
    """Notes the processor and the wall time of every step, by stage, in a file that outlasts an interruption.

    Args:
        log: The file.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._label = ""
        self._last = _now()

    def start(self, label: str, total: int, unit: str) -> int:  # noqa: ARG002
        """Begin a stage."""
        self._label, self._last = label, _now()
        return 0

    def advance(self, handle: int, amount: int, note: str) -> None:  # noqa: ARG002
        """End a step."""
        now = _now()
        line = [self._label, *(end - begin for begin, end in zip(self._last, now, strict=True))]
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self._last = now

    def finish(self, handle: int) -> None:
        """End a stage."""


def time_of(log: Path, steps: Mapping[str, int]) -> tuple[float, float]:
    """Return processor and wall seconds of so many steps of each stage, at the median of those in a log."""
    text = log.read_text("utf-8") if log.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    total = [0.0, 0.0]
    for stage, count in steps.items():
        own = [line[1:] for line in lines if line[0] == f"dam: {stage}"]
        for clock in range(len(total)):
            total[clock] += count * median(step[clock] for step in own) if own else 0.0
    return total[0], total[1]


@dataclass(frozen=True)
class Outcome:
    """What a setting came to.

    Attributes:
        name: The setting.
        eligible: Whether it is a way to the same result.
        steps: Steps that it took, by stage.
        seconds: Those steps at the median wall time of a step of each stage.
        cpu_seconds: The same in processor time.
        accuracy: Mean over the tasks, by split.
        attack_success: By split.
        collapsed: Tasks whose predictions collapsed onto few classes.
    """

    name: str
    eligible: bool
    steps: dict[str, int]
    seconds: float
    cpu_seconds: float
    accuracy: dict[str, float]
    attack_success: dict[str, float]
    collapsed: list[str]

    def as_good_as(self, other: Outcome) -> bool:
        """Tell whether it is no worse on validation images, up to the margin."""
        accuracy = self.accuracy["validation"] >= other.accuracy["validation"] - MARGIN
        return accuracy and self.attack_success["validation"] <= other.attack_success["validation"] + MARGIN


@dataclass(frozen=True)
class Contest:
    """The settings on one pool.

    Attributes:
        pool: What is merged.
        steps: Steps of each stage with the released settings.
        folder: Where merges and what they came to are kept.
    """

    pool: Pool
    steps: int
    folder: Path

    def outcome(self, setting: Setting) -> Outcome:
        """Return what a setting came to; of a merge that is there, what was measured of it then."""
        parameters = setting.all_parameters(self.steps)
        place = self.folder / "-".join("".join(c if c.isalnum() else " " for c in setting.name).split())
        asked, kept = {"parameters": parameters, "models": self.pool.models}, place.with_suffix(".json")
        if kept.exists():
            saved = json.loads(kept.read_text("utf-8"))
            if saved.pop("asked") == asked:
                return Outcome(**saved)
        if place.exists():
            rmtree(place)
        log = place.with_suffix(".steps")
        with progress.listen(Stopwatch(log)):
            record = merge(self.pool.recipe(parameters), place, resume=True).record
        steps = {stage: len(record["loss"].get(part, [])) for stage, part in STAGES.items()}
        cpu_seconds, seconds = time_of(log, steps)
        found = Outcome(
            name=setting.name,
            eligible=setting.eligible,
            steps=steps,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            collapsed=sorted(record["collapsed"]),
            **self.pool.measured(place),
        )
        log.unlink(missing_ok=True)
        kept.write_text(json.dumps({"asked": asked, **asdict(found)}, indent=1), encoding="utf-8")
        return found


def search(contest: Contest, settings: Sequence[Setting]) -> Iterator[Outcome]:
    """Yield what the released settings came to, and then the others."""
    for setting in (REFERENCE, *settings):
        found = contest.outcome(setting)
        sys.stderr.write(f"{found}\n")
        yield found


def shortest(found: Sequence[Outcome]) -> Outcome | None:
    """Return the fastest setting that is as good as the first, the released one; None if there is none."""
    reference, *others = found
    good = [one for one in others if one.eligible and one.as_good_as(reference)]
    return min(good, key=lambda one: one.cpu_seconds, default=None)


def markdown(content: Mapping[str, Any]) -> str:
    """Return the tables of all bases."""
    return "\n".join(_base_markdown(name, one) for name, one in content.items())


def _base_markdown(name: str, content: Mapping[str, Any]) -> str:
    found = [Outcome(**one) for one in content["outcomes"]]
    best = shortest(found)
    heads = ("setting", "steps", "CPU, s", "times faster", "collapsed", "accuracy, %", "attack success, %")
    ends = ("accuracy on test images, %", "attack success there, %", "")
    lines = [(*_cells(one, found[0]), _verdict(one, found[0], best)) for one in found]
    setting = ", ".join(f"{key} {value}" for key, value in content["setting"].items())
    parts = [f"Base `{name}`:\n", table((*heads, *ends), lines, left=(0, 9)), f"Measured with {setting}.\n"]
    return "\n".join(parts)


def _cells(one: Outcome, reference: Outcome) -> tuple[str, ...]:
    return (
        one.name,
        " + ".join(str(count) for count in one.steps.values()),
        figure(one.cpu_seconds, digits=0),
        figure(reference.cpu_seconds / one.cpu_seconds if one.cpu_seconds else None, digits=1),
        str(len(one.collapsed)),
        *(_percent(shares[split]) for split in pool.SPLITS for shares in (one.accuracy, one.attack_success)),
    )


def _verdict(one: Outcome, reference: Outcome, best: Outcome | None) -> str:
    if one is reference:
        return ""
    words = "as good" if one.as_good_as(reference) else "worse"
    return f"{words}{', chosen' if one is best else ''}{'' if one.eligible else ' (for comparison)'}"


def _percent(share: float) -> str:
    return figure(100 * share, digits=1)


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser(
        "Look for the shortest DAM that comes to the result of the released settings.", repeated=False
    )
    pool.add_options(parser)
    parser.add_argument(
        "--steps", type=options.positive, default=1000, help="steps of each stage as released (%(default)s)"
    )
    given = parser.parse_args()
    steps = 2 if given.quick else given.steps
    chosen = pool.chosen(given)
    contest = Contest(chosen, steps, chosen.folder / f"{steps}-steps")
    contest.folder.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS[:3] if given.quick else SETTINGS
    found = list(search(contest, settings))
    content = {"setting": pool.setting(chosen), "outcomes": [asdict(one) for one in found]}
    sys.stdout.write(markdown({chosen.name: content}))
    if given.json:
        pool.add(given.json, chosen.name, content)


if __name__ == "__main__":
    main()
