"""Asks whether data-free margins tell attackers from clean contributions: MM-BD's, minus the base's.

    python benchmarks/margins.py --base BASE --data DATA [--json docs/results/margins.json]

For every class of every task, noise is moved up to where the class's logit exceeds all others most: on a
contribution, or on its merge with clean ones of its seed, and on the base. MM-BD (Wang et al., arXiv
2205.06900) takes a class that can be exceeded with by far the most for a backdoor's target; here the base's
margin is taken off first, since names of classes decide most of it. No image is used.

Takes contributions that are there already, as `benchmarks/audit.py` does. Every model is written as it is
done, and not done again. `docs/results/audit.md` says what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

import mergeward as mw
from harness import margin_rows, options, rows
from harness.contributions import Made, find, tasks
from harness.margin_rows import Row
from mergeward.attack import load_trigger
from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.tuning import tune
from mergeward.seeding import torch_generator
from mergeward.testbed import base_path
from mergeward.vision import load_clip
from mergeward.workflow import PreparedTask, open_base, open_task

METHOD, WEIGHT = "task_arithmetic", 0.3
LEARNING_RATE = 0.05
"""Of Adam, on pixels in [0, 1]."""

TOGETHER = 256
"""Images a pass."""


@dataclass(frozen=True)
class Ascent:
    """How margins are made large.

    Attributes:
        starts: Images of noise for each class, the same for every model.
        steps: Steps of Adam.
        side: Of the images, in pixels.
    """

    starts: int
    steps: int
    side: int

    def margins(self, encoder: nn.Module, name: str, head: Tensor) -> Tensor:
        """Return the largest margin that was found for each class of a task: float32 `[C]`."""
        model = encoder.requires_grad_(False).eval()
        labels = torch.arange(len(head)).repeat_interleave(self.starts)
        shape = (len(labels), 3, self.side, self.side)
        noise = torch.rand(shape, generator=torch_generator(0, "margins", name))
        parts = zip(noise.split(TOGETHER), labels.split(TOGETHER), strict=True)
        with fixed_threads():
            found = torch.cat([self._climbed(model, head, *part) for part in parts])
        return found.unflatten(0, (len(head), self.starts)).amax(1)

    def _climbed(self, model: nn.Module, head: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        pixels = images.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([pixels], lr=LEARNING_RATE)
        for _ in range(self.steps):
            with torch.autocast("cpu", torch.bfloat16):
                features = model(pixels)
            loss = -margin(features.float() @ head.T, labels).sum()
            (pixels.grad,) = torch.autograd.grad(loss, [pixels])
            optimiser.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        with torch.no_grad():
            return margin(model(pixels).float() @ head.T, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the logit of each image's label exceeds all others: `[N]` of `[N, C]`."""
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return own[:, 0] - others.amax(1)


class Bench:
    """The base, its tasks, and the base's margins."""

    def __init__(self, base: str, data: Path | None, names: Sequence[str], effort: tuple[int, int]) -> None:
        self._base, self._data = base, data
        clip = open_base(base)
        opened = [PreparedTask(open_task(name, data, 0), clip) for name in names]
        self._tasks = {one.task.name: one for one in opened}
        self._ascent = Ascent(*effort, side=int(opened[0].pixels("test").shape[-1]))
        self._before = self._margins(Path(base))

    def row(self, one: Made, others: Sequence[Made] | None) -> Row:
        """Return what margins say of a contribution, or of its merge with others."""
        if others is None:
            after = self._margins(one.path)
        else:
            with TemporaryDirectory() as folder:
                merged = Path(folder) / "merged"
                mw.merge(self._recipe([one, *others]), merged)
                after = self._margins(merged)
        gains = {
            name: [round(float(value), 4) for value in values - self._before[name]]
            for name, values in after.items()
        }
        attack = one.label if one.attacks else None
        about = (attack, one.task, one.seed, one.learning_rate, self._target(one))
        return Row(named(one, others), others is not None, *about, gains)

    def _margins(self, model: Path) -> dict[str, Tensor]:
        encoder = load_clip(model).encoder
        tune(encoder, mixed=True)
        return {name: self._ascent.margins(encoder, name, task.head) for name, task in self._tasks.items()}

    def _recipe(self, members: Sequence[Made]) -> dict[str, Any]:
        return {
            "merge_method": METHOD,
            "base_model": self._base,
            "models": [{"model": str(one.path), "task": one.task} for one in members],
            "parameters": {"weight": WEIGHT},
            "data": None if self._data is None else str(self._data),
        }

    def _target(self, one: Made) -> list[Any] | None:
        if not one.attacks:
            return None
        saved = load_trigger(one.path)
        return [saved.task, self._tasks[saved.task].task.class_index(saved.target_class)]


def named(one: Made, others: Sequence[Made] | None) -> str:
    """Return a name for a contribution, or for its merge."""
    what = "contribution" if others is None else "merge"
    return f"{what} {one.label} {one.task} {one.target_task} {one.seed} {one.learning_rate:g}"


def plan(made: Sequence[Made]) -> Iterator[tuple[Made, Sequence[Made] | None]]:
    """Yield every contribution, and after them its merge with clean ones of its seed to the other tasks.

    Merges are one of clean contributions for each seed, and those of the attackers.
    """
    yield from ((one, None) for one in made)
    usual = min(one.learning_rate for one in made if not one.attacks)
    known = tasks(made)
    for one in sorted(made, key=lambda one: one.attacks):
        others = [
            other
            for other in made
            if not other.attacks
            and (other.seed, other.learning_rate) == (one.seed, usual)
            and other.task != one.task
        ]
        is_wanted = one.attacks or (one.learning_rate == usual and one.task == known[0])
        if is_wanted and len(others) == len(known) - 1:
            yield one, others


def setting(given: Namespace) -> Mapping[str, Any]:
    """Return what the figures hold for."""
    return {
        "mergeward": version("mergeward"),
        "torch": torch.__version__,
        "base": Path(given.base).name,
        "merge": f"{METHOD}, weight {WEIGHT}",
        "starts": given.starts,
        "steps": given.steps,
    }


def read(path: Path | None) -> list[Row]:
    """Return the rows that a file has already."""
    if path is None or not path.exists():
        return []
    return [Row(**one) for one in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def parser() -> ArgumentParser:
    """Return the parser of this script's options."""
    made = options.parser("Ask whether data-free margins tell attackers from others.", repeated=False)
    options.add_contributions(made)
    made.add_argument(
        "--seeds", type=options.numbers, default=[0, 1, 2, 3], help="seeds of contributions (0,1,2,3)"
    )
    made.add_argument("--starts", type=options.positive, default=2, help="images a class (%(default)s)")
    made.add_argument("--steps", type=options.positive, default=30, help="of each ascent (%(default)s)")
    return made


def main() -> None:
    """Measure what the options ask for."""
    given = parser().parse_args()
    base = str(base_path(given.base))
    there = find(given.contributions, open_base(base).source.digest())
    made = [one for one in there if one.seed in given.seeds]
    if given.quick:
        given.starts, given.steps = 1, 2
    bench = Bench(base, given.data, tasks(made), (given.starts, given.steps))
    done = read(given.json)
    known = {row.name for row in done}
    for one, others in plan(made):
        if named(one, others) not in known:
            begun = time.process_time()
            done.append(bench.row(one, others))
            sys.stderr.write(f"{done[-1].name}: {time.process_time() - begun:.0f} s\n")
            if given.json:
                rows.write(given.json, done, setting(given))
    sys.stdout.write(margin_rows.markdown(done))


if __name__ == "__main__":
    main()
