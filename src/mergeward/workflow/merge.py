"""From a recipe to a merged model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mergeward.checkpoint import SHARD_BYTES, digest_all, open_output, vacant
from mergeward.compute import find_device, use_threads
from mergeward.errors import UsageError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.surgery import PAPER
from mergeward.merge.method import MethodInfo
from mergeward.processes import check_alone, from_first, joined, own_device, process_number, wait_for_all
from mergeward.provenance import CARD, Provenance, model_card, plain
from mergeward.recipe import Recipe
from mergeward.vision import SURGERY, Clip, surgery_files
from mergeward.workflow.job import CPU, Merged, as_recipe, checked_method, open_job
from mergeward.workflow.learning import SECONDS, StateFile, learning_identity, learning_setting
from mergeward.workflow.masks import MASKS, mask_files
from mergeward.workflow.opened import PreparedTask, open_base, open_task
from mergeward.workflow.prior_audit import RECORDED, PriorAudit

LEARNT = "learnt.json"
"""File of an adaptive merge's record, beside `model.safetensors`."""


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        out: The folder that was written.
        method: Merge method.
        inputs: SHA-256 of the base and of every contribution.
        backdoored_inputs: Inputs that say of themselves that they carry a backdoor, the base among them.
        record: What an adaptive method learnt (coefficients, losses); empty for static ones.
        warnings: What the user should know of the result.
        audit: The audit before it, if there was one.
    """

    out: Path
    method: str
    inputs: Mapping[str, str]
    backdoored_inputs: tuple[str, ...]
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    audit: PriorAudit | None = None


def merge(  # noqa: PLR0913 - one argument an option
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    state_seconds: float = SECONDS,
    on_marked: Callable[[str], None] | None = None,
    audited: PriorAudit | None = None,
) -> MergeReport:
    """Merge the contributions of a recipe into its base and write the result.

    Everything that can be wrong with the recipe is found before the first tensor is read. A merge that is
    interrupted leaves what it wrote and learnt in a hidden folder beside `out`. Processes that a launcher
    started (`torchrun`, `accelerate launch`) learn an adaptive merge together, each from its share of the
    images; the first of them writes.

    Args:
        recipe: Path of a YAML file, its content as a mapping, or a `Recipe`.
        out: Folder to write, in Hugging Face layout; must not exist.
        resume: Whether to go on from what an interrupted run of the same merge left.
        device: Where to compute: "cpu", "cuda" or "cuda:N".
        threads: On how many threads; by default `MERGEWARD_THREADS`, or two.
        shard_bytes: Size above which the weights are divided among files.
        state_seconds: How often an adaptive method keeps what it has learnt, for a run that goes on.
        on_marked: Called with the name of each input that says it carries a backdoor, before it is read.
        audited: The audit that was made of the recipe (`Audited.prior`), to be checked and recorded;
            `audit_and_merge` makes one.

    Returns:
        What was merged.

    Raises:
        RecipeError: The recipe is malformed.
        UsageError: There is no such method, task or device, the method cannot do what is asked, or a
            launcher started several processes for one that does not learn in steps.
        CheckpointError: A file is missing, malformed, hostile, no fine-tune of the base, or
            not what was audited.
        UnsupportedError: The method does not apply to these models, or there is no such processor.
        OutputError: `out` cannot be written, or there is another run to go on from than this one.

    Example:
        >>> merge("recipe.yaml", "merged")  # doctest: +SKIP
    """
    recipe = as_recipe(recipe)
    info, _ = checked_method(recipe)
    place = find_device(own_device(device))
    check_device(recipe, info, place)
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        if info.any_device:
            stack.enter_context(joined(place))
        else:
            check_alone(f"merge: {info.name}")
        job = open_job(recipe, stack, device=place)
        vacant(out)
        job.check()
        if on_marked is not None:
            for name in job.backdoored:
                on_marked(name)
        clip, tasks = _images(info, recipe) if job.learns else (None, [])
        digests = digest_all(list(job.inputs.values()))
        if audited is not None:
            audited.check_unchanged(zip(_models(recipe, info), digests, strict=False))  # masks may follow
        learning = learning_setting(tasks) if tasks else {}
        recorded = {} if audited is None else {RECORDED: audited.to_json()}
        record = job.provenance(dict(zip(job.inputs, digests, strict=True)), {**learning, **recorded})
        card = partial(
            model_card,
            record,
            title=f"{info.name} of {len(job.names)} contributions",
            base_model=recipe.base,
            contributions=job.names,
        )
        opened = open_output(
            out,
            like=job.base,
            metadata=record.to_metadata(),
            card=card(notes=_notes(audited)),
            dtype=recipe.torch_dtype,
            shard_bytes=shard_bytes,
            resume=resume,
            identity=learning_identity(tasks) if tasks else "",
        )
        output = stack.enter_context(opened) if process_number() == 0 else None
        state = StateFile(from_first(output.folder if output else None), state_seconds)
        merged = job.run(clip, tasks, recipe.torch_dtype, output.done if output else (), state)
        wait_for_all()
        if output:
            told = card(notes=_notes(audited, merged))
            for name, content in _beside(merged, record, told).items():
                output.add(name, content)
            for piece in merged.pieces:
                output.write(piece)
            state.remove()
    return MergeReport(
        Path(out),
        info.name,
        record.inputs,
        record.backdoored_inputs,
        merged.record,
        tuple(merged.record.get("collapsed", {}).values()),
        audited,
    )


def check_device(recipe: Recipe, info: MethodInfo, device: torch.device) -> None:
    """Check that a merge can compute where it shall.

    Raises:
        UsageError: It learns from images, and cannot.
    """
    bound = "surgery" if recipe.surgery is not None else info.name
    on_images = info.needs_images or recipe.surgery is not None
    if device != CPU and on_images and not (info.any_device and recipe.surgery is None):
        raise UsageError(f"--device {device}: {bound} computes on the CPU only")


def _models(recipe: Recipe, info: MethodInfo) -> Iterator[str]:
    """Yield where the base and each contribution are, in the order of what a job reads."""
    yield recipe.base
    yield from (entry.model for entry in recipe.contributions(needs_base=info.needs_base).values())


def _beside(learnt: Merged, record: Provenance, card: str) -> dict[str, bytes]:
    """Return the files beside the weights that tell of the learning, by name; none for a static merge."""
    if not learnt.record:
        return {}
    files = {
        LEARNT: (json.dumps(dict(learnt.record), indent=1) + "\n").encode(),
        CARD: card.encode(),
    }
    metadata = record.to_metadata()
    return files | mask_files(learnt.masks, metadata) | surgery_files(learnt.repairs, metadata)


def _notes(audited: PriorAudit | None, learnt: Merged | None = None) -> str:
    parts = [] if audited is None else [audited.for_card()]
    if learnt is not None:
        parts += [_collapse_notes(learnt), _mask_notes(learnt), _surgery_notes(learnt)]
    return "\n\n".join(filter(None, parts))


def _collapse_notes(learnt: Merged) -> str:
    collapsed = [plain(reason) for reason in learnt.record.get("collapsed", {}).values()]
    if not collapsed:
        return ""
    return (
        "## Collapse\n\nLow entropy rewards predicting one class for everything, and this merge went that "
        "way:\n\n" + "\n".join(f"- {reason}" for reason in collapsed)
    )


def _mask_notes(learnt: Merged) -> str:
    if not learnt.masks:
        return ""
    names = ", ".join(f"`{name}`" for name in learnt.masks)
    return (
        f"## Masks\n\n`{MASKS}` holds the logits of the mask {names} for every weight: "
        "`mergeward inspect --masks` draws what each keeps, and `masks:` in a recipe uses them again."
    )


def _surgery_notes(learnt: Merged) -> str:
    if not learnt.repairs:
        return ""
    tasks = ", ".join(f"`{plain(name)}`" for name in learnt.repairs)
    return (
        f"## Surgery\n\n`{SURGERY}` holds a module for each of {tasks}, learnt on unlabelled images "
        f"({PAPER}). It corrects the image features for that task: `mergeward evaluate` applies it, and in "
        "Python `mergeward.vision.load_clip(folder).encoder_for(task)`. Other programs see the weights alone."
    )


def _images(info: MethodInfo, recipe: Recipe) -> tuple[Clip, list[UnlabelledTask]]:
    clip = open_base(recipe.base)
    entries = recipe.contributions(needs_base=info.needs_base).values()
    specs = dict.fromkeys(entry.task for entry in entries if entry.task is not None)
    return clip, [
        PreparedTask(open_task(spec, recipe.data, recipe.seed), clip).unlabelled() for spec in specs
    ]
