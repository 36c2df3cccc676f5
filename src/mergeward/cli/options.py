"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Base = Annotated[
    str, typer.Option("--base", help="The pretrained CLIP: 'embedded', a Hugging Face folder, or a hub id.")
]
TaskSpec = Annotated[
    str, typer.Option("--task", help="An embedded task, a name within --data, a path, or hf:DATASET.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of task files (.npz or image folders).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps.")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", min=0.0, help="Peak rate of AdamW.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a step.")]
