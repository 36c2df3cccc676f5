"""Steps of DAM by mergeward, timed: `python benchmarks/harness/dam.py JOB.json`.

The job is a JSON object, the same for ours and for a peer's driver:

| key | meaning |
|---|---|
| `base`, `contributions` | safetensors files of a CLIP's image tower with its projection, the latter a list |
| `vision` | arguments of `transformers.CLIPVisionConfig` |
| `images` | images a task and batch; there are as many tasks as contributions |
| `steps` | steps to run |
| `threads` | threads of torch |
| `parameters` | ours only: parameters of `dam` |
| `result` | file to write: `{"seconds": [...]}`, one number a step |

No file is read during the steps, and no data is loaded: the images are random and in memory.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from mergeward import progress
from mergeward.checkpoint import Floats, open_checkpoint
from mergeward.compute import use_threads
from mergeward.merge.adaptive import AdaptiveProblem, UnlabelledTask
from mergeward.merge.registry import method
from mergeward.vision import ClipEncoder, Preprocessor

CLASSES = 50
BATCHES = 2
"""Images of a task, in batches."""

SMALL_TEXT = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


class Stopwatch:
    """Notes the time of every step that is told."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def start(self, label: str, total: int, unit: str) -> int:
        """Begin the steps."""
        if total:
            self.times.append(time.perf_counter())
        return 0

    def advance(self, handle: int, amount: int, note: str) -> None:
        """End a step."""
        self.times.append(time.perf_counter())

    def finish(self, handle: int) -> None:
        """End the steps."""


def problem(job: dict[str, Any]) -> AdaptiveProblem:
    """Return what is merged."""
    encoder = _encoder(job["vision"])
    files = [open_checkpoint(path) for path in (job["base"], *job["contributions"])]
    scope = [name for name in files[0].tensors if name in dict(encoder.named_parameters())]
    base, *contributions = (Floats(file, scope) for file in files)
    side, width = job["vision"]["image_size"], len(encoder.visual_projection.weight)
    generator = torch.Generator().manual_seed(0)
    shape = (BATCHES * job["images"], 3, side, side)
    tasks = [
        UnlabelledTask(
            f"task-{index}",
            torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
            100 * F.normalize(torch.randn(CLASSES, width, generator=generator), dim=-1),
        )
        for index in range(len(contributions))
    ]
    return AdaptiveProblem(encoder, base, contributions, [task.name for task in tasks], tasks, seed=0)


def _encoder(vision: dict[str, Any]) -> ClipEncoder:
    """Return an encoder whose weights were never written: a merge brings its own."""
    with torch.device("meta"):
        config = CLIPConfig(
            vision_config=vision, text_config=SMALL_TEXT, projection_dim=vision["projection_dim"]
        )
        model = CLIPModel(config)
    encoder = ClipEncoder(model.to_empty(device="cpu"), Preprocessor(None, None))
    positions = encoder.vision_model.embeddings.position_ids
    positions.copy_(torch.arange(positions.shape[1]))
    return encoder.eval()


def main(job: dict[str, Any]) -> None:
    """Run a job and write the seconds of each step."""
    dam = method("dam")
    asked = {**job["parameters"], "steps": job["steps"], "coefficient_steps": 0, "batch_size": job["images"]}
    watch = Stopwatch()
    with use_threads(job["threads"]), progress.listen(watch):
        dam.run(problem(job), dam.parameters(**asked))
    seconds = [end - begin for begin, end in pairwise(watch.times)]
    Path(job["result"]).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
