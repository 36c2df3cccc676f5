"""What a merge would do, found out without reading a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeward.checkpoint import SHARD_BYTES, vacant
from mergeward.checkpoint.shards import plan_shards
from mergeward.compute import find_device, thread_count, use_threads
from mergeward.merge.adaptive.mask_parameters import MaskParameters
from mergeward.merge.mergekit import without_idle
from mergeward.merge.static.problem import BLOCK, StaticMerge
from mergeward.recipe import Recipe
from mergeward.workflow.job import MergeJob, as_recipe, checked_method, open_job
from mergeward.workflow.merge import check_device

NO_HASH = "0" * 64
VALUES_HELD = 10
"""About how many float32 numbers a block merge holds for each value that it is at."""

STORED_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Bytes of a value of a task vector, by how an adaptive merge keeps it."""

WEIGHTS_HELD = 3
"""Numbers an adaptive merge holds for each weight: base, merged weight, gradient."""

MASK_HELD = 3.5
"""The same for each weight of a mask: logit, two moments of Adam, and noise in half the bytes."""


@dataclass(frozen=True)
class MergePlan:
    """What a merge would do.

    Attributes:
        method: Merge method.
        summary: What it does, in a sentence.
        settings: Its settings, with those of each contribution under "models".
        base: Where the base is.
        contributions: Where each contribution is, by name.
        merged_tensors: How many tensors take part.
        copied_tensors: How many are taken from the base.
        read_bytes: Size of all that is read to merge, once.
        passes: How often the task vectors are read, in words.
        memory_bytes: About how much memory the merge holds, besides the program itself; for one that learns
            from images, besides what a pass over a batch of them takes.
        files: Size of each weights file of the output, in bytes.
        warnings: What the user should know before.
        notes: What stands in the recipe and has no effect.
    """

    method: str
    summary: str
    settings: Mapping[str, Any]
    base: str
    contributions: Mapping[str, str]
    merged_tensors: int
    copied_tensors: int
    read_bytes: int
    passes: str
    memory_bytes: int
    files: Mapping[str, int]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def plan_merge(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> MergePlan:
    """Check a merge as `merge` does and say what it would do; no tensor is read and nothing is written.

    Arguments and errors are those of `merge`.
    """
    recipe = as_recipe(recipe)
    info, _ = checked_method(recipe)
    place = find_device(device)
    check_device(recipe, info, place)
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        job = open_job(recipe, stack, device=place)
        vacant(out)
        ready = job.check()
        metadata = job.provenance(dict.fromkeys(job.inputs, NO_HASH)).to_metadata()
        layouts = plan_shards(
            job.base.tensors,
            dtype=recipe.torch_dtype,
            metadata={"format": "pt", **metadata},
            shard_bytes=shard_bytes,
        ).layouts
        return MergePlan(
            method=info.name,
            summary=info.summary,
            settings=job.recorded,
            base=recipe.base,
            contributions={name: one.name for name, one in zip(job.names, job.contributions, strict=True)},
            merged_tensors=len(job.scope),
            copied_tensors=len(job.base.tensors) - len(job.scope),
            read_bytes=_read_bytes(job),
            passes=_passes(job, ready),
            memory_bytes=_memory_bytes(job, ready),
            files={name: layout.nbytes for name, layout in layouts.items()},
            warnings=tuple(
                f"{name} says of itself that it carries a backdoor; the merged model would be marked too"
                for name in job.backdoored
            ),
            notes=(*recipe.notes, *without_idle(info, recipe.parameters)[1], *_idle_with_masks(job, recipe)),
        )


def _idle_with_masks(job: MergeJob, recipe: Recipe) -> list[str]:
    """Return a line about each parameter of a recipe that saved masks leave without effect."""
    parameters = job.schedule.default.parameters
    if recipe.masks is None or not isinstance(parameters, MaskParameters):
        return []
    return [
        f"parameters.{key}: without effect; masks are taken from a file, and none is learnt"
        for key in recipe.parameters
        if key in parameters.idle_with_masks
    ]


def _learning_bytes(job: MergeJob) -> float:
    """Return how many bytes are held for each weight while images are learnt from, but for activations."""
    parameters = job.schedule.default.parameters
    stored = STORED_BYTES[getattr(parameters, "task_vectors", "float32")]
    masks = len(parameters.mask_names) if isinstance(parameters, MaskParameters) else 0
    return stored * len(job.contributions) + 4 * (WEIGHTS_HELD + MASK_HELD * masks)


def _read_bytes(job: MergeJob) -> int:
    base = sum(info.nbytes for info in job.base.tensors.values())
    return base + sum(one.tensors[name].nbytes for one in job.contributions for name in job.scope)


def _passes(job: MergeJob, ready: StaticMerge | None) -> str:
    if job.learns:
        return "learns from images, with all models in memory"
    if ready is None:
        return "gathers figures of whole models first, then merges in one pass"
    return "merges in one pass"


def _memory_bytes(job: MergeJob, ready: StaticMerge | None) -> int:
    """Return about how many bytes are held: the parts at work, of which each thread has one and two wait."""
    sizes = [job.base.tensors[name].numel for name in job.scope]
    if job.learns:
        return int(sum(sizes) * _learning_bytes(job))
    whole = ready is not None and ready.whole
    part = max(sizes) if whole else min(max(sizes), BLOCK)
    held = VALUES_HELD + (len(job.contributions) if whole else 0)
    return 4 * part * held * (thread_count() + 2)
