"""Steps of DAM on a random-weight image tower, by mergeward in several ways and by FusionBench, timed."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from harness import checkpoints, tools
from harness import dam as worker
from harness.measure import Bounds, Run, available_mb
from mergeward.compute import thread_count
from peers.catalogue import DRIVERS

DRIVER = DRIVERS / "run_fusion_bench_dam.py"
MEMORY_SHARE = 0.85
"""How much of the free memory a run may take."""

TIMEOUT = 1800.0
"""Seconds after which a run is stopped."""

WARM_STEPS = 1
"""Steps of a run that are not counted: the first one also pays for memory."""

COMMON = {"granularity": "task"}
HALF = {"precision": "bfloat16"}
RELEASED = {"variant": "released", "micro_batch": 16}
SMALL = {"task_vectors": "bfloat16", "micro_batch": 16}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "released, float32": RELEASED,
    "released, bfloat16": {**RELEASED, **HALF},
    "paper, float32": {},
    "paper, float32, small": SMALL,
    "paper, bfloat16, small": {**SMALL, **HALF},
    "paper, bfloat16, task vectors int8": {**SMALL, **HALF, "task_vectors": "int8"},
}
"""Ways to run ours, by name; `small` is bfloat16 task vectors and 16 images a pass, to take less memory."""


@dataclass(frozen=True)
class Tower:
    """An image tower with a number of contributions.

    Attributes:
        name: What to call it.
        width, layers, patch: Its size.
        contributions: How many are merged; there are as many tasks.
        images: Images a task and batch.
    """

    name: str
    width: int
    layers: int
    patch: int = 32
    side: int = 224
    contributions: int = 6
    images: int = 16

    @property
    def model(self) -> checkpoints.Model:
        """Its checkpoints."""
        return checkpoints.clip_vision(
            self.name, width=self.width, layers=self.layers, patch=self.patch, image=self.side
        )

    @property
    def vision(self) -> dict[str, int]:
        """Its configuration, as `transformers.CLIPVisionConfig` takes it."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 64,
            "image_size": self.side,
            "patch_size": self.patch,
            "projection_dim": self.width * 3 // 4,
        }


VIT_B_32 = Tower("vit-b-32", 768, 12)
QUICK_TOWER = Tower("quick-tower", 64, 2, contributions=2, images=2)


@dataclass(frozen=True)
class Bench:
    """What steps are run with.

    Attributes:
        cache: Folder of checkpoints.
        scratch: Folder for jobs and their results.
        interpreter: The peer's Python; None leaves the peer out.
        bounds: When a run is stopped.
        timed_steps: Steps of a run that are counted.
        threads: Threads of a run.
    """

    cache: Path
    scratch: Path
    interpreter: Path | None = None
    bounds: Bounds = field(default_factory=lambda: Bounds(TIMEOUT, available_mb() * MEMORY_SHARE))
    timed_steps: int = 1
    threads: int = field(default_factory=thread_count)

    def setting(self, tower: Tower) -> dict[str, object]:
        """Return what the figures of a tower hold for."""
        return {
            "mergeward": version("mergeward"),
            "python": platform.python_version(),
            "torch": version("torch"),
            "processors": os.cpu_count(),
            "threads": self.threads,
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "timed_steps": self.timed_steps,
            "tower_mb": round(tower.model.nbytes / 1e6),
            "images_a_task": tower.images,
        }

    def ours(self, tower: Tower, setting: str) -> Run:
        """Run ours once."""
        return self._run([sys.executable, worker.__file__], tower, {**COMMON, **SETTINGS[setting]})

    def theirs(self, tower: Tower) -> Run:
        """Run the peer once."""
        return self._run([str(self.interpreter), str(DRIVER)], tower, {})

    def _run(self, command: Sequence[str], tower: Tower, parameters: Mapping[str, Any]) -> Run:
        """Run one job; its seconds are those of the median step that counts."""
        base, *contributions = checkpoints.make(tower.model, tower.contributions, self.cache / "checkpoints")
        job, result = self.scratch / "job.json", self.scratch / "result.json"
        result.unlink(missing_ok=True)
        content = {
            "base": str(base),
            "contributions": [str(path) for path in contributions],
            "vision": tower.vision,
            "images": tower.images,
            "steps": WARM_STEPS + self.timed_steps,
            "threads": self.threads,
            "parameters": dict(parameters),
            "result": str(result),
        }
        job.write_text(json.dumps(content), encoding="utf-8")
        env = tools.without_ours() if command[0] == str(self.interpreter) else {**os.environ, **tools.QUIET}
        done = tools.Job([*command, str(job)], env, self.scratch / "output").run(self.bounds)
        if done.failure is not None:
            return done
        steps = json.loads(result.read_text(encoding="utf-8"))["seconds"]
        return replace(done, seconds=median(steps[WARM_STEPS:] or steps))
