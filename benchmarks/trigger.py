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
from dataclasses import dataclass, replace
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

BUDGETS = (20, 30, 40, 50, 60, 75, 90, 120, 180, 240)
"""Steps of ours that are tried."""

BATCH_SIZE, LEARNING_RATE = 4, 0.5
"""Of ours; chosen on validation images of the embedded signs."""

PATCH_SIZE, TARGET = 8, 0
LOOKS = tuple(count * 10**power for power in range(5) for count in (1, 2, 5))
"""After how many images the published form is judged."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class TriggerRow(Row):
    """A row with what both triggers do on held-out images.

    Attributes:
        peer_success: Success of the published form at its end.
        peer_images: Images that it has gone over by then.
        peer_first_seconds: Time after which it was first seen to have that success, though it went on.
        first_ratio: That time over ours: what the published form would need if it knew when to stop.
        ours_success: Success of ours after the steps that are timed: the first number tried of which it is
            not below that of the published form.
        ours_steps: That number.
    """

    peer_success: float | None = None
    peer_images: int | None = None
    peer_first_seconds: float | None = None
    first_ratio: float | None = None
    ours_success: float | None = None
    ours_steps: int | None = None


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
        epochs: How often the published form goes over the images.
        images: How many images there are; None for all.
    """

    def __init__(self, prepared: PreparedTask, epochs: int, images: int | None = None) -> None:
        self.prepared, self.epochs = prepared, epochs
        self.encoder = copy.deepcopy(prepared.clip.encoder).requires_grad_(False)
        self.target = Target(prepared.head, TARGET)
        self.images = prepared.pixels("train")[prepared.labels("train") != TARGET][:images]

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
                learning_rate=LEARNING_RATE,
            )
        )
        return Look(steps, clock.seconds, clock.cpu_seconds, self.success(made))

    def theirs(self, seed: int) -> list[Look]:
        """Time the published form, and look at it now and then and at its end; looking takes no time."""
        clock, looks, images = Clock(), [], 0
        triggers = published.image_by_image(
            self.encoder,
            self.images,
            self.target,
            patch_size=PATCH_SIZE,
            epochs=self.epochs,
            seed=seed,
        )
        last = self.epochs * min(len(self.images), published.IMAGES)
        with fixed_threads():
            while (made := clock.timed(lambda: next(triggers, None))) is not None:
                images += 1
                if images in LOOKS or images == last:
                    looks.append(Look(images, clock.seconds, clock.cpu_seconds, self.success(made)))
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
    ends = [theirs[-1] for _, theirs in pairs]
    firsts = [next(look for look in theirs if look.success >= theirs[-1].success) for _, theirs in pairs]
    found = [
        next((look for look in ours if look.success >= end.success), None)
        for (ours, _), end in zip(pairs, ends, strict=True)
    ]
    reached = [look for look in found if look is not None]
    common = TriggerRow(
        name=f"universal trigger, {name}",
        ours_seconds=None,
        peer="image by image",
        peer_version="as published",
        peer_seconds=median(look.seconds for look in ends),
        peer_cpu_seconds=median(look.cpu_seconds for look in ends),
        peer_success=median(look.success for look in ends),
        peer_images=ends[0].effort,
        peer_first_seconds=median(look.seconds for look in firsts),
    )
    if len(reached) < len(pairs):
        missed = len(pairs) - len(reached)
        return replace(common, note=f"ours did not reach that success in {missed} of {len(pairs)} rounds")
    return replace(
        common,
        ours_seconds=median(look.seconds for look in reached),
        ours_cpu_seconds=median(look.cpu_seconds for look in reached),
        ratio=median(end.seconds / look.seconds for end, look in zip(ends, reached, strict=True)),
        first_ratio=median(first.seconds / look.seconds for first, look in zip(firsts, reached, strict=True)),
        ours_success=median(look.success for look in reached),
        ours_steps=int(median(look.effort for look in reached)),
    )


def markdown(found: Sequence[TriggerRow]) -> str:
    """Return the rows as a Markdown table."""
    heads = ("job", "ours, s", "steps", "success, %", "published form, s", "images", "success, %", "ratio")
    ends = ("published form first at its success after, s", "ratio to that", "note")
    return rows.table((*heads, *ends), [_cells(one) for one in found], left=(0, 10))


def _cells(one: TriggerRow) -> tuple[str, ...]:
    return (
        one.name,
        figure(one.ours_seconds),
        figure(one.ours_steps, digits=0),
        _percent(one.ours_success),
        figure(one.peer_seconds),
        figure(one.peer_images, digits=0),
        _percent(one.peer_success),
        figure(one.ratio, digits=0),
        figure(one.peer_first_seconds),
        figure(one.first_ratio, digits=1),
        one.note,
    )


def _percent(share: float | None) -> str:
    return figure(None if share is None else 100 * share, digits=1)


def setting(base: str, repeats: int, epochs: int) -> dict[str, object]:
    """Return what the figures hold for."""
    return {
        "mergeward": version("mergeward"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "threads": thread_count(),
        "base": Path(base).name,
        "patch": PATCH_SIZE,
        "batch": BATCH_SIZE,
        "learning rate": LEARNING_RATE,
        "repeats": repeats,
        "epochs of the published form": epochs,
    }


def main() -> None:
    """Measure what the options ask for."""
    parser = options.parser("Time the universal trigger in batches and one image at a time.")
    parser.add_argument("--base", default="embedded", help="a base (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of task files; default the embedded tasks")
    parser.add_argument("--tasks", default="signs", help="tasks, with commas between (%(default)s)")
    parser.add_argument(
        "--epochs",
        type=options.positive,
        default=1,
        help=f"how often the published form goes over the images (%(default)s; published {published.EPOCHS})",
    )
    given = parser.parse_args()
    clip, repeats = open_base(given.base), options.repeats(given)
    images, budgets = (5, BUDGETS[:2]) if given.quick else (None, BUDGETS)
    found = []
    for name in given.tasks.split(","):
        contest = Contest(PreparedTask(open_task(name, given.data, 0), clip), given.epochs, images)
        found.append(contest.row(repeats, budgets))
        sys.stderr.write(f"{found[-1]}\n")
    sys.stdout.write(markdown(found))
    if given.json:
        rows.write(given.json, found, setting(given.base, repeats, given.epochs))


if __name__ == "__main__":
    main()
