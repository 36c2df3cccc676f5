"""Steps of DAM by FusionBench's task-wise class, timed; the job is that of `harness/dam.py`.

The class is driven as its own command drives it, but for what it would fetch: a pool gives it the models from
files, random images stand in for its loaders, random heads for its zero-shot heads, and a bare stand-in for
Lightning's fabric, which on one processor does no more than this.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from fusion_bench.method.concrete_subspace.clip_safe_concrete_adamerging import (
    ConcreteSafeTaskWiseAdaMergingForCLIP,
)
from omegaconf import DictConfig
from safetensors.torch import load_file
from stand_in import Driven, Fabric
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

BASE = "_pretrained_"
CLASSES = 50
PROJECTION = "visual_projection.weight"
RELEASED = {
    "merge_dtype": None,
    "optimizer": "adam",
    "lr": 1e-3,
    "base_lr": 1.0,
    "adv_lr": 1e-4,
    "scaling_factor": 0.3,
    "adv_weight": 0.1,
    "initial_logits": 0,
    "temperature": 0.5,
    "clamp_weights": False,
    "tie_weights": True,
    "strict": False,
}
"""Its own settings."""


class Pool:
    """Gives the class its models, each read from its file when asked for."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._files = {
            BASE: job["base"],
            **{f"task-{i}": path for i, path in enumerate(job["contributions"])},
        }
        self._config = CLIPVisionConfig(**job["vision"])
        self.model_names = [name for name in self._files if name != BASE]

    def load_model(self, name: str) -> nn.Module:
        """Return a vision tower."""
        model = CLIPVisionModel(self._config)
        wanted = model.state_dict()
        state = load_file(self._files[name])
        prefix = "" if next(iter(wanted)).startswith("vision_model.") else "vision_model."
        model.load_state_dict({key: state[f"{prefix}{key}"] for key in wanted if "position_ids" not in key})
        return model


class Dam(Driven, ConcreteSafeTaskWiseAdaMergingForCLIP):
    """The class, without what it would load."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(DictConfig({**RELEASED, "max_steps": job["steps"], "save_interval": 10**9}))
        self.modelpool = Pool(job)
        self._own_fabric = Fabric()
        generator = torch.Generator().manual_seed(0)
        side = job["vision"]["image_size"]
        self._images = torch.randn(job["images"], 3, side, side, generator=generator)
        self._projection = load_file(job["base"])[PROJECTION]
        self._head = torch.randn(CLASSES, len(self._projection), generator=generator)

    def get_shuffled_test_loader_iter(self, task: str, **_: Any) -> Iterator[tuple[Tensor, None]]:
        """Return batches that are there already."""
        return iter([(self._images, None)])

    def compute_logits(self, module: nn.Module, images: Tensor, task: str) -> Tensor:
        """Return logits, as the class's own mixin does from the zero-shot head."""
        features = module(images).pooler_output @ self._projection.T
        features = features / features.norm(dim=-1, keepdim=True)
        return 100 * features @ (self._head / self._head.norm(dim=-1, keepdim=True)).T

    def run(self, modelpool: Any) -> None:
        """Learn the masks, the first of its two stages; what it prints is dropped."""
        with contextlib.redirect_stdout(io.StringIO()):
            module, masks = self.setup_models()
            self.fabric.times.append(time.perf_counter())
            self.train_mask(module, masks)


def main(job: dict[str, Any]) -> None:
    """Run a job and write the seconds of each step."""
    torch.manual_seed(0)  # noqa: TID251 - the peer draws from global state
    torch.set_num_threads(job["threads"])
    algorithm = Dam(job)
    algorithm.run(algorithm.modelpool)
    seconds = [end - start for start, end in pairwise(algorithm.fabric.times)]
    Path(job["result"]).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
