"""From a recipe to a merged model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mergeward.checkpoint import SHARD_BYTES, digest_all, open_output, vacant
from mergeward.compute import find_device, use_threads
from mergeward.errors import UsageError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.method import MethodInfo
from mergeward.processes import from_first, joined, own_device, process_number, wait_for_all
from mergeward.provenance import model_card
from mergeward.recipe import Recipe
from mergeward.vision import Clip
from mergeward.workflow.job import BASE, CPU, as_recipe, checked_method, open_job
from mergeward.workflow.learning import SECONDS, StateFile, learning_identity
from mergeward.workflow.opened import PreparedTask, open_base, open_task


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        out: The folder that was written.
        method: Merge method.
        inputs: SHA-256 of the base and of every contribution.
        backdoored_inputs: Contributions that say of themselves that they carry a backdoor.
        record: What an adaptive method learnt (coefficients, losses); empty for static ones.
    """

    out: Path
    method: str
    inputs: Mapping[str, str]
    backdoored_inputs: tuple[str, ...]
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)


def merge(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    state_seconds: float = SECONDS,
) -> MergeReport:
    """Merge the contributions of a recipe into its base and write the result.

    Everything that can be wrong with the recipe is found before the first tensor is read. A merge that is
    interrupted leaves what it wrote and learnt in a hidden folder beside `out`. Processes that a launcher
    started (`torchrun`, `accelerate launch`) learn together, each from its share of the images; the first of
    them writes.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`.
        out: Folder to write, in Hugging Face layout; must not exist.
        resume: Whether to go on from what an interrupted run of the same merge left.
        device: Where to compute: "cpu", "cuda" or "cuda:N".
        threads: On how many threads; by default `MERGEWARD_THREADS`, or two.
        shard_bytes: Size above which the weights are divided among files.
        state_seconds: How often an adaptive method keeps what it has learnt, for a run that goes on.

    Returns:
        What was merged.

    Raises:
        RecipeError: The recipe is malformed.
        UsageError: There is no such method, task or device, or the method cannot do what is asked.
        CheckpointError: A file is missing, malformed, hostile, or no fine-tune of the base.
        UnsupportedError: The method does not apply to these models, or there is no such processor.
        OutputError: `out` cannot be written, or there is another run to go on from than this one.

    Example:
        >>> merge("recipe.yaml", "merged")  # doctest: +SKIP
    """
    recipe = as_recipe(recipe)
    info, _ = checked_method(recipe)
    place = find_device(own_device(device))
    check_device(info, place)
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        if info.kind == "adaptive":
            stack.enter_context(joined(place))
        job = open_job(recipe, stack, device=place)
        vacant(out)
        job.check()
        clip, tasks = _images(info, recipe)
        hashes = digest_all([job.base, *job.contributions])
        record = job.provenance(dict(zip([BASE, *job.names], hashes, strict=True)))
        title = f"{info.name} of {len(job.names)} contributions"
        opened = open_output(
            out,
            like=job.base,
            metadata=record.to_metadata(),
            card=model_card(record, title=title, base_model=recipe.base, contributions=job.names),
            dtype=recipe.torch_dtype,
            shard_bytes=shard_bytes,
            resume=resume,
            identity=learning_identity(tasks) if tasks else "",
        )
        output = stack.enter_context(opened) if process_number() == 0 else None
        state = StateFile(from_first(output.folder if output else None), state_seconds)
        done = output.done if output else ()
        pieces, learnt = job.run(clip, tasks, recipe.torch_dtype, done, state)
        wait_for_all()
        if output:
            for piece in pieces:
                output.write(piece)
            state.remove()
    return MergeReport(Path(out), info.name, record.inputs, record.backdoored_inputs, learnt)


def check_device(info: MethodInfo, device: torch.device) -> None:
    """Check that a method can compute where it shall.

    Raises:
        UsageError: It learns from images, and cannot.
    """
    if info.kind == "adaptive" and device != CPU and not info.any_device:
        raise UsageError(f"--device {device}: {info.name} computes on the CPU only")


def _images(info: MethodInfo, recipe: Recipe) -> tuple[Clip | None, list[UnlabelledTask]]:
    if not info.needs_images:
        return None, []
    clip = open_base(recipe.base)
    entries = recipe.contributions(needs_base=info.needs_base).values()
    specs = dict.fromkeys(entry.task for entry in entries if entry.task is not None)
    return clip, [
        PreparedTask(open_task(spec, recipe.data, recipe.seed), clip).unlabelled() for spec in specs
    ]
