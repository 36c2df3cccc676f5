"""Making clean contributions, and writing any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint import (
    Described,
    carries_mark,
    check_compatible,
    open_checkpoint,
    resolve_scope,
    vacant,
    write_checkpoint,
)
from mergeward.processes import check_alone
from mergeward.provenance import Provenance, model_card
from mergeward.tasks import Task
from mergeward.train import CleanObjective, FinetuneConfig
from mergeward.train import finetune as train_encoder
from mergeward.vision import Clip
from mergeward.workflow.opened import PreparedTask, open_base, open_task, with_weights

ENCODER = "vision_model."
"""What the names of an image encoder's tensors begin with, its projection aside."""


def finetune(
    base: str | Path,
    task: str | Path | Task,
    out: str | Path,
    *,
    data: str | Path | None = None,
    training: FinetuneConfig = FinetuneConfig(),  # noqa: B008
) -> Path:
    """Fine-tune a base's image encoder on a task: a clean contribution.

    Args:
        base: `embedded`, a Hugging Face CLIP directory, or a hub id.
        task: An embedded task, a name within `data`, a path, or a `Task`.
        out: Folder to write, in Hugging Face layout; must not exist.
        data: Folder of task files.
        training: Steps, rates and seed.

    Returns:
        `out`.

    Raises:
        UsageError: A launcher started several processes.
        CheckpointError: The base cannot be read.
        DataError: The task cannot be read.
        OutputError: `out` cannot be written.
    """
    check_alone("finetune")
    vacant(out)
    clip = open_base(base)
    prepared = PreparedTask(open_task(task, data, training.seed), clip)
    objective = CleanObjective(prepared.head)
    state = train_encoder(
        clip.encoder,
        prepared.training_data(),
        objective,
        training,
        label=f"fine-tune {prepared.task.name}",
    )
    record = Provenance(
        kind="contribution",
        method="finetune",
        parameters=asdict(training),
        seed=training.seed,
        inputs={"base": clip.source.digest()},
        task=prepared.task.name,
        **_mark({"base": clip.source}),
    )
    return write_contribution(clip, state, Path(out), record, base=str(base))


def adopt(base: str | Path, model: str | Path, task: str, out: str | Path) -> Path:
    """Write a fine-tune that somebody else published as a contribution.

    Of what they published the image encoder is taken, and the rest from the base: many publish no more than
    that, and no projection, which they leave as it is.

    Args:
        base: `embedded`, a Hugging Face CLIP directory, or a hub id.
        model: Folder or hub id of the fine-tune.
        task: Name of the task that it is for.
        out: Folder to write, in Hugging Face layout; must not exist.

    Returns:
        `out`.

    Raises:
        CheckpointError: A model cannot be read, or the one is no fine-tune of the other.
        OutputError: `out` cannot be written.
    """
    vacant(out)
    clip = open_base(base)
    with open_checkpoint(model) as published:
        scope = [
            name
            for name in resolve_scope("vision", clip.source)
            if name.startswith(ENCODER) or name in published.tensors
        ]
        check_compatible(clip.source, [published], scope)
        record = Provenance(
            kind="contribution",
            method="adopt",
            parameters={"model": str(model)},
            inputs={"base": clip.source.digest(), "published": published.digest()},
            task=task,
            **_mark({"base": clip.source, "published": published}),
        )
        state = {name: published.read(name) for name in scope}
        return write_contribution(clip, state, Path(out), record, base=str(base))


def _mark(inputs: Mapping[str, Described]) -> dict[str, Any]:
    """Return what a record says of the inputs that carry a backdoor."""
    marked = tuple(name for name, model in inputs.items() if carries_mark(model))
    return {"backdoor": bool(marked), "backdoored_inputs": marked}


def write_contribution(
    clip: Clip,
    state: Mapping[str, Tensor],
    out: Path,
    record: Provenance,
    *,
    base: str,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write an image encoder as a contribution, in float32.

    Args:
        clip: The base, of which everything else is taken.
        state: The encoder's tensors under their checkpoint names.
        out: Folder to write.
        record: How it was made; it names the task.
        base: The base as the user named it.
        extra: Contents of further files by name.

    Returns:
        `out`.
    """
    dtype = torch.float32  # task vectors are small; half precision would round them away
    title = f"{Path(base).name} on {record.task}"
    write_checkpoint(
        out,
        with_weights(clip.source, state, dtype),
        like=clip.source,
        metadata=record.to_metadata(),
        card=model_card(record, title=title, base_model=base),
        dtype=dtype,
        extra=extra,
    )
    return out
