"""The model card of a pretrained base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mergeward.tasks import Task
from mergeward.testbed.model import PREPROCESSOR

if TYPE_CHECKING:
    from mergeward.testbed.pretrain import PretrainConfig


def write_card(
    folder: Path, tasks: Sequence[Task], config: PretrainConfig, seconds: float, threads: int
) -> None:
    """Write `preprocessor_config.json` and `README.md` beside the weights in `folder`."""
    preprocessor = json.dumps(PREPROCESSOR.to_config(), indent=2)
    (folder / "preprocessor_config.json").write_text(preprocessor + "\n", encoding="utf-8")
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    rows = "\n".join(
        f"| {task.name} | {len(task.class_names)} | {len(task.split('train'))} | {task.licence} "
        f"| `{task.fingerprint[:16]}` |"
        for task in tasks
    )
    settings = ", ".join(f"{key} {value}" for key, value in asdict(config).items())
    (folder / "README.md").write_text(
        f"""---
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, mergeward]
---
# A small CLIP for trying merges

A `transformers.CLIPModel` (ViT, 32x32 input, patch 8, width 160, depth 6) pretrained contrastively on the
train splits of the tasks below. It exists to study merging and backdoors in minutes; it is no general model.

| task | classes | train images | licence of the images | fingerprint |
|---|---|---|---|---|
{rows}

- Settings: {settings}.
- Time of the last uninterrupted stretch: {seconds:.0f} s on {threads} threads, bfloat16 forward passes.
- torch {torch.__version__}, transformers {version("transformers")}.
- SHA-256 of `model.safetensors`: `{weights}`.
""",
        encoding="utf-8",
    )
