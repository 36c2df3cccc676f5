"""Making contributions: clean fine-tunes, and backdoored ones to measure defenses against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.attack import AttackProblem, SavedTrigger, Target, attack_info
from mergeward.checkpoint import vacant, write_checkpoint
from mergeward.provenance import Provenance, model_card
from mergeward.recipe import validated
from mergeward.tasks import Task
from mergeward.train import CleanObjective, FinetuneConfig
from mergeward.train import finetune as train_encoder
from mergeward.vision import Clip
from mergeward.workflow.opened import PreparedTask, open_base, open_task, with_weights


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
        CheckpointError: The base cannot be read.
        DataError: The task cannot be read.
        OutputError: `out` cannot be written.
    """
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
    )
    return _write(clip, state, Path(out), record, base=str(base))


def attack(
    name: str,
    base: str | Path,
    task: str | Path | Task,
    target_class: str | int,
    out: str | Path,
    *,
    data: str | Path | None = None,
    training: FinetuneConfig = FinetuneConfig(),  # noqa: B008
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Make a backdoored contribution, marked as such, with its trigger beside it.

    Args:
        name: An attack, as `mergeward list attacks` prints them.
        base: `embedded`, a Hugging Face CLIP directory, or a hub id.
        task: The attacker's own task.
        target_class: Class name or label that triggered images are to be given.
        out: Folder to write; gets `trigger.safetensors` and `trigger.json` too.
        data: Folder of task files.
        training: Steps, rates and seed.
        parameters: The attack's own parameters by name.

    Returns:
        `out`.

    Raises:
        UsageError: There is no such attack or class.
        RecipeError: A parameter is unknown or out of range.
        CheckpointError: The base cannot be read.
        DataError: The task cannot be read.
        OutputError: `out` cannot be written.
    """
    info = attack_info(name)
    settings = validated(info.parameters, parameters or {}, where="parameters")
    vacant(out)
    clip = open_base(base)
    prepared = PreparedTask(open_task(task, data, training.seed), clip)
    label = prepared.task.class_index(target_class)
    own = prepared.training_data()
    problem = AttackProblem(clip.encoder, own, Target(own.head, label), training)
    backdoored = info.run(problem, settings)
    target_name = prepared.task.class_names[label]
    trigger = backdoored.trigger
    saved = SavedTrigger(trigger, info.name, prepared.task.name, target_name, clip.preprocessor)
    record = Provenance(
        kind="contribution",
        method=info.name,
        parameters={**asdict(training), **settings.model_dump(mode="json")},
        seed=training.seed,
        inputs={"base": clip.source.digest()},
        task=prepared.task.name,
        backdoor=True,
        trigger={"attack": info.name, "target_class": target_name, "kind": trigger.kind},
    )
    return _write(clip, backdoored.state, Path(out), record, base=str(base), extra=saved.files())


def _write(
    clip: Clip,
    state: Mapping[str, Tensor],
    out: Path,
    record: Provenance,
    *,
    base: str,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
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
