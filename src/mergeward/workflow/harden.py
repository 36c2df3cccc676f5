"""From a merged model to a hardened one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mergeward.checkpoint import check_compatible, resolve_scope, vacant, write_checkpoint
from mergeward.defense import HardenProblem, defense_info
from mergeward.errors import UnsupportedError, UsageError
from mergeward.provenance import Provenance, model_card
from mergeward.recipe import validated
from mergeward.tasks import Task
from mergeward.workflow.opened import PreparedTask, open_base, open_base_file, open_task, with_weights


def harden(
    model: str | Path,
    base: str | Path,
    defense: str,
    tasks: Sequence[str | Path | Task],
    out: str | Path,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Run a defense on a merged model and write the result.

    A model that says of itself that it carries a backdoor stays marked: a defense may weaken a backdoor, and
    proves nothing about it.

    Args:
        model: The merged model: a Hugging Face CLIP directory, or a hub id.
        base: The base it was merged into: `embedded`, a Hugging Face CLIP directory, or a hub id.
        defense: A defense, as `mergeward list defenses` prints them.
        tasks: The tasks the model was merged for; only their adapt images are used, without labels.
        out: Folder to write, in Hugging Face layout; must not exist.
        data: Folder of task files.
        seed: Seed of everything random, the tasks' splits among it.
        parameters: The defense's own parameters by name.

    Returns:
        `out`.

    Raises:
        UsageError: There is no such defense or task, or no task is given.
        RecipeError: A parameter is unknown or out of range.
        CheckpointError: A model cannot be read, or was not merged into this base.
        DataError: A task cannot be read.
        UnsupportedError: The defense does not apply to this architecture, or the model has surgery modules.
        OutputError: `out` cannot be written.
    """
    info = defense_info(defense)
    settings = validated(info.parameters, parameters or {}, where="parameters")
    if not tasks:
        raise UsageError("no task to take adapt images from")
    vacant(out)
    merged = open_base(model)
    if merged.repairs:
        raise UnsupportedError(
            f"{model}: has surgery modules, which fit its weights as they are; harden a merge without surgery"
        )
    with merged.source, open_base_file(base) as origin:
        check_compatible(origin, [merged.source], resolve_scope("vision", origin))
        unlabelled = [PreparedTask(open_task(task, data, seed), merged).unlabelled() for task in tasks]
        weights = {name: origin.read(name) for name, _ in merged.encoder.named_parameters()}
        hardened = info.run(HardenProblem(merged.encoder, weights, unlabelled, seed), settings)
        found = Provenance.from_metadata(merged.source.metadata)
        marked = found is not None and found.backdoor
        record = Provenance(
            kind="hardened",
            method=info.name,
            parameters=settings.model_dump(mode="json", by_alias=True),
            seed=seed,
            inputs={"model": merged.source.digest(), "base": origin.digest()},
            backdoor=marked,
            backdoored_inputs=(Path(model).name,) if marked else (),
        )
        write_checkpoint(
            out,
            with_weights(merged.source, hardened.state),
            like=merged.source,
            metadata=record.to_metadata(),
            card=model_card(
                record,
                title=f"{Path(model).name} hardened with {info.name}",
                base_model=str(base),
                notes=_notes(info.summary, hardened.record),
            ),
        )
    return Path(out)


def _notes(summary: str, record: Mapping[str, Any]) -> str:
    return f"## Hardening\n\nThe defense {summary}. What it did:\n\n```json\n{json.dumps(record)}\n```"
