"""From a merged model to a hardened one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mergeward.checkpoint import (
    Adapter,
    Checkpoint,
    TensorSource,
    carries_mark,
    check_compatible,
    digest_all,
    open_contribution,
    open_output,
    resolve_scope,
    vacant,
)
from mergeward.compute import find_device, use_threads
from mergeward.defense import DefenseInfo, HardenProblem, defense_info, run_defense
from mergeward.errors import UnsupportedError, UsageError
from mergeward.merge.adaptive import UnlabelledTask
from mergeward.merge.adaptive.problem import CPU
from mergeward.merge.method import Parameters
from mergeward.processes import check_alone
from mergeward.provenance import CARD, Provenance, model_card
from mergeward.recipe import validated
from mergeward.tasks import Task
from mergeward.testbed import base_path
from mergeward.workflow.job import distinct_names
from mergeward.workflow.learning import SECONDS, StateFile, learning_identity, learning_setting
from mergeward.workflow.opened import PreparedTask, open_base, open_base_file, open_task, with_weights

SHOWN_STEPS = 8
"""A list of more numbers than this is shortened in the model card."""


def harden(  # noqa: PLR0913 - one argument an option
    model: str | Path,
    base: str | Path,
    defense: str,
    tasks: Sequence[str | Path | Task],
    out: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    others: Sequence[str | Path] = (),
    parameters: Mapping[str, Any] | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    state_seconds: float = SECONDS,
    on_collapse: Callable[[str], None] | None = None,
) -> Path:
    """Run a defense on a merged model and write the result.

    A model that says of itself that it carries a backdoor stays marked: a defense may weaken a backdoor, and
    proves nothing about it. So does one that was averaged with a marked model. A run that is interrupted
    leaves what it learnt in a hidden folder beside `out`.

    Args:
        model: The merged model: a Hugging Face CLIP directory, or a hub id.
        base: The base it was merged into: `embedded`, a Hugging Face CLIP directory, or a hub id.
        defense: A defense, as `mergeward list defenses` prints them.
        tasks: The tasks the model was merged for; only their adapt images are used, without labels.
        out: Folder to write, in Hugging Face layout; must not exist.
        data: Folder of task files.
        seed: Seed of everything random, the tasks' splits among it.
        others: Other models of the same base, for defenses that need some: folders, hub ids, or `embedded`.
        parameters: The defense's own parameters by name.
        resume: Whether to go on from what an interrupted run of the same hardening left.
        device: Where to compute: "cpu", "cuda" or "cuda:N".
        threads: On how many threads; by default `MERGEWARD_THREADS`, or two.
        state_seconds: How often a defense that learns keeps what it has learnt, for a run that goes on.
        on_collapse: Called for each task whose predictions collapsed onto few classes, with what happened in
            words. The model is written all the same, and its card says so.

    Returns:
        `out`.

    Raises:
        UsageError: There is no such defense, task or device, no task is given, the defense cannot compute
            there, other models are missing or not used, or a launcher started several processes.
        RecipeError: A parameter is unknown or out of range.
        CheckpointError: A model cannot be read, or was not merged into this base.
        DataError: A task cannot be read.
        UnsupportedError: The defense does not apply to this architecture, the model has surgery modules, or
            there is no such processor.
        OutputError: `out` cannot be written, or there is another run to go on from than this one.
    """
    check_alone("harden")
    info, place = defense_info(defense), find_device(device)
    settings = validated(info.parameters, parameters or {}, where="parameters", source=f"defense {info.name}")
    if not tasks:
        raise UsageError("no task to take adapt images from")
    info.check_others(len(others))
    if place != CPU and not info.any_device:
        raise UsageError(f"--device {device}: {info.name} computes on the CPU only")
    vacant(out)
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        merged = open_base(model)
        stack.callback(merged.source.close)
        if merged.repairs:
            raise UnsupportedError(
                f"{model}: has surgery modules, which fit its weights as they are; "
                "harden a merge without surgery"
            )
        origin = stack.enter_context(open_base_file(base))
        named = _open_others(others, origin, stack)
        check_compatible(origin, [merged.source, *named.values()], resolve_scope("vision", origin))
        unlabelled = [PreparedTask(open_task(task, data, seed), merged).unlabelled() for task in tasks]
        names = [name for name, _ in merged.encoder.named_parameters()]
        weights = {source: _read(named[source], names) for source in named}
        suspects = [(Path(model).name, merged.source), ("base", origin), *named.items()]
        inputs: dict[str, Checkpoint | Adapter] = {"model": merged.source, "base": origin}
        inputs |= {f"with {name}": source for name, source in named.items()}
        record = _record(
            info,
            _setting(settings, unlabelled, place),
            seed,
            inputs,
            [name for name, source in suspects if carries_mark(source)],
        )
        card = partial(
            model_card,
            record,
            title=f"{Path(model).name} hardened with {info.name}",
            base_model=str(base),
        )
        output = stack.enter_context(
            open_output(
                out,
                like=merged.source,
                metadata=record.to_metadata(),
                card=card(),
                resume=resume,
                identity=learning_identity(unlabelled),
            )
        )
        state = StateFile(output.folder, state_seconds)
        problem = HardenProblem(merged.encoder, _read(origin, names), unlabelled, seed, weights, place, state)
        hardened = run_defense(info, problem, settings)
        if on_collapse is not None:
            for reason in hardened.record["collapsed"].values():
                on_collapse(reason)
        output.add(CARD, card(notes=_notes(info.summary, hardened.record)).encode())
        for piece in with_weights(merged.source, hardened.state, done=output.done):
            output.write(piece)
        state.remove()
    return Path(out)


def _record(
    info: DefenseInfo,
    parameters: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, Checkpoint | Adapter],
    marked: Sequence[str],
) -> Provenance:
    return Provenance(
        kind="hardened",
        method=info.name,
        package=info.package,
        parameters=dict(parameters),
        seed=seed,
        inputs=dict(zip(inputs, digest_all(list(inputs.values())), strict=True)),
        backdoor=bool(marked),
        backdoored_inputs=tuple(marked),
    )


def _setting(settings: Parameters, tasks: Sequence[UnlabelledTask], device: torch.device) -> dict[str, Any]:
    """Return everything that was set, and what else decides the outcome."""
    own = settings.model_dump(mode="json", by_alias=True)
    place = {} if device == CPU else {"device": device.type}
    return {**own, "tasks": [task.name for task in tasks], **learning_setting(tasks), **place}


def _open_others(
    others: Sequence[str | Path], base: Checkpoint, stack: ExitStack
) -> dict[str, Checkpoint | Adapter]:
    """Open other models, adapters among them, under distinct names."""
    opened = [open_contribution(base_path(other), base) for other in others]
    for one in opened:
        stack.callback(one.close)
    return dict(zip(distinct_names([str(other) for other in others]), opened, strict=True))


def _read(source: TensorSource, names: Sequence[str]) -> dict[str, Tensor]:
    return {name: source.read(name) for name in names}


def _notes(summary: str, record: Mapping[str, Any]) -> str:
    shown = json.dumps(_shortened(record))
    return f"## Hardening\n\nThe defense {summary}. What it did:\n\n```json\n{shown}\n```"


def _shortened(value: Any) -> Any:
    """Return a record with long lists of numbers reduced to their length, first and last."""
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list) and len(value) > SHOWN_STEPS:
        return {"steps": len(value), "first": value[0], "last": value[-1]}
    return value
