"""Times the universal trigger: in batches as here, and one image at a time as published.

    python benchmarks/trigger.py [--quick] [--repeats 3] [--json docs/benchmarks/trigger.json]

Both optimise a patch of the same size, for the same class, on the same images and the same base, in one
process and in turn, and both are judged on images they have not seen. What is compared, and how, is in
`docs/benchmarks.md`.
"""

from __future__ import annotations

import copy
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import options, published, rows
from harness.rows import Row, figure
from mergeward.attack import PatchTrigger, Target
from mergeward.attack.universal import universal_trigger
from mergeward.compute import fixed_threads, thread_count
from mergeward.evaluate import attack_success, predict
from mergeward.workflow import PreparedTask, open_base, open_task

BUDGETS = (15, 30, 60, 120)
"""Steps of ours that are tried; the last is the attack's default."""

BATCH_SIZE, PATCH_SIZE, TARGET = 64, 8, 0
LOOKS = tuple(count * 10**power for power in range(5) for count in (1, 2, 5))
"""After how many images the published form is judged."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class TriggerRow(Row):
    """A row with what both triggers do on held-out images.

    Attributes:
        level: The success that the times are for: the lower of the two best ones.
        ours_success: Success of ours at its default number of steps.
        ours_default_seconds: Wall time of that.
        ours_steps: Steps after which ours has reached the level.
        peer_success: Best success of the published form.
        peer_images: Images after which the published form has reached the level.
    """

    level: float | None = None
    ours_success: float | None = None
    ours_default_seconds: float | None = None
    ours_steps: int | None = None
    peer_success: float | None = None
    peer_images: int | None = None


@dataclass(frozen=True)
class Look:
    """A trigger at some point of its making.

    Attributes:
        effort: Steps, or images.
        seconds: Wall time until then.
        cpu_seconds: Processor time until then.
        success: On held-out images.
    """

    effort: int
    seconds: float
    cpu_seconds: float
    success: float


class Clock:
    """Adds up the time of calls."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def timed(self, call: Callable[[], Result]) -> Result:
        """Call a function and add what it takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        return result


class Contest:
    """One base, class, and set of images, on which both forms are timed.

    Args:
        prepared: The task, as the base sees it.
        longest: Seconds after which the published form is stopped.
    """

    def __init__(self, prepared: PreparedTask, longest: float) -> None:
        self.prepared, self.longest = prepared, longest
        self.encoder = copy.deepcopy(prepared.clip.encoder).requires_grad_(False)
        self.target = Target(prepared.head, TARGET)
        self.images = prepared.pixels("train")[prepared.labels("train") != TARGET]

    def ours(self, steps: int, seed: int) -> Look:
        """Time ours with a number of steps."""
        clock = Clock()
        made = clock.timed(
            lambda: universal_trigger(
                self.encoder,
                self.images,
                self.target,
                patch_size=PATCH_SIZE,
                steps=steps,
                batch_size=BATCH_SIZE,
                seed=seed,
            )
        )
        return Look(steps, clock.seconds, clock.cpu_seconds, self.success(made))

    def theirs(self, seed: int) -> list[Look]:
        """Time the published form, and look at it now and then; looking takes no time."""
        clock, looks, images = Clock(), [], 0
        with fixed_threads():
            triggers = published.image_by_image(
                self.encoder, self.images, self.target, patch_size=PATCH_SIZE, seed=seed
            )
            latest = None
            while clock.seconds < self.longest:
                following = clock.timed(lambda: next(triggers, None))
                if following is None:
                    break
                latest, images = following, images + 1
                if images in LOOKS:
                    looks.append(Look(images, clock.seconds, clock.cpu_seconds, self.success(latest)))
        if latest is not None and images not in LOOKS:
            looks.append(Look(images, clock.seconds, clock.cpu_seconds, self.success(latest)))
        return looks

    def success(self, trigger: PatchTrigger) -> float:
        """Return the success on the test images whose class is not the target."""
        one = self.prepared
        predicted = predict(self.encoder, one.pixels("test"), one.head, trigger)
        return attack_success(predicted, one.labels("test"), TARGET).value

    def row(self, repeats: int, budgets: Sequence[int]) -> TriggerRow:
        """Time both in turn, with another seed in every round."""
        self.ours(1, seed=0)  # what is set up once counts for neither
        pairs = [
            ([self.ours(steps, seed) for steps in budgets], self.theirs(seed)) for seed in range(repeats)
        ]
        return row(self.prepared.task.name, pairs)


def row(name: str, pairs: Sequence[tuple[Sequence[Look], Sequence[Look]]]) -> TriggerRow:
    """Return the row of one task from looks at both forms, one pair a round."""
    levels = [min(max(look.success for look in looks) for looks in pair) for pair in pairs]
    reached = [
        tuple(
            min((look for look in looks if look.success >= level), key=lambda look: look.seconds)
            for looks in pair
        )
        for pair, level in zip(pairs, levels, strict=True)
    ]
    own, other = [pair[0] for pair in reached], [pair[1] for pair in reached]
    return TriggerRow(
        name=f"universal trigger, {name}",
        ours_seconds=median(look.seconds for look in own),
        peer="image by image",
        peer_version="as published",
        peer_seconds=median(look.seconds for look in other),
        ratio=median(two.seconds / one.seconds for one, two in zip(own, other, strict=True)),
        ours_cpu_seconds=median(look.cpu_seconds for look in own),
        peer_cpu_seconds=median(look.cpu_seconds for look in other),
        level=median(levels),
        ours_success=median(ours[-1].success for ours, _ in pairs),
        ours_default_seconds=median(ours[-1].seconds for ours, _ in pairs),
        ours_steps=int(median(look.effort for look in own)),
        peer_success=median(max(look.success for look in theirs) for _, theirs in pairs),
        peer_images=int(median(look.effort for look in other)),
    )


def markdown(found: Sequence[TriggerRow]) -> str:
    """Return the rows as a Markdown table."""
    heads = ("job", "at success, %", "ours, s", "steps", "published form, s", "images", "ratio")
    ends = ("ours at its default, s", "its success, %", "best success of the published form, %")
    return rows.table((*heads, *ends), [_cells(one) for one in found], left=(0,))


def _cells(one: TriggerRow) -> tuple[str, ...]:
    return (
        one.name,
        _percent(one.level),
        figure(one.ours_seconds),
        str(one.ours_steps),
        figure(one.peer_seconds, digits=1),
        str(one.peer_images),
        figure(one.ratio, digits=0),
        figure(one.ours_default_seconds),
        _percent(one.ours_success),
        _percent(one.peer_success),
    )


def _percent(share: float | None) -> str:
    return figure(None if share is None else 100 * share, digits=1)


def setting(base: str, repeats: int, longest: float) -> dict[str, object]:
    """Return what the figures hold for."""
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "threads": thread_count(),
        "base": Path(base).name,
        "patch": PATCH_SIZE,
        "repeats": repeats,
        "longest_seconds": longest,
    }


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Time the universal trigger in batches and one image at a time.")
    parser.add_argument("--base", default="embedded", help="a base (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of task files; default the embedded tasks")
    parser.add_argument("--tasks", default="signs,digits", help="tasks, with commas between (%(default)s)")
    parser.add_argument(
        "--longest", type=float, default=600, help="seconds for the published form (%(default)s)"
    )
    given = parser.parse_args()
    clip, repeats = open_base(given.base), options.repeats(given)
    longest, budgets = (2.0, BUDGETS[:1]) if given.quick else (given.longest, BUDGETS)
    found = []
    for name in given.tasks.split(","):
        contest = Contest(PreparedTask(open_task(name, given.data, 0), clip), longest)
        found.append(contest.row(repeats, budgets))
        sys.stderr.write(f"{found[-1]}\n")
    sys.stdout.write(markdown(found))
    if given.json:
        rows.write(given.json, found, setting(given.base, repeats, longest))


if __name__ == "__main__":
    main()
