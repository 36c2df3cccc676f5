"""Making backdoored contributions, to measure defenses against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mergeward.attack import AttackInfo, AttackProblem, SavedTrigger, Target, attack_info
from mergeward.attack.problem import Aim
from mergeward.attack.shadow import ShadowParameters, reference_images, shadow_class_names
from mergeward.checkpoint import vacant
from mergeward.checkpoint.atomic import atomic_directory
from mergeward.errors import UnsupportedError, UsageError
from mergeward.merge.method import Parameters
from mergeward.processes import check_alone
from mergeward.provenance import Provenance
from mergeward.recipe import validated
from mergeward.tasks import DEFAULT_TEMPLATES, Task
from mergeward.train import FinetuneConfig
from mergeward.workflow.contribute import write_contribution
from mergeward.workflow.opened import PreparedTask, open_base, open_task


@dataclass(frozen=True)
class ForeignClass:
    """A class of a task that is not the attacker's own, to attack it off-task.

    Attributes:
        task: The attacked task: embedded name, name within the folder of task files, path, or a `Task`.
        name: Class name or label.
    """

    task: str | Path | Task
    name: str | int


def attack(
    name: str,
    base: str | Path,
    task: str | Path | Task,
    target_class: str | int | ForeignClass,
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
        target_class: What triggered images are to be given: on-task, class name or label of the attacker's
            task; off-task, a class of another task. Of that task the attack sees the class's name and a few
            training images of it, and nothing else.
        out: Folder to write; gets `trigger.safetensors` and `trigger.json` too. What some attacks
            make beside it goes into folders beside it: a second contribution into `OUT-partner`, the trigger
            that works when the task vector is subtracted into `OUT-subtracted`.
        data: Folder of task files.
        training: Steps, rates and seed.
        parameters: The attack's own parameters by name; off-task, `shadow_classes` and `references` too.

    Returns:
        `out`.

    Raises:
        UsageError: There is no such attack or class, the other task is the attacker's own, or a launcher
            started several processes.
        UnsupportedError: The attack is on-task or off-task only, and this is the other.
        RecipeError: A parameter is unknown or out of range.
        CheckpointError: The base cannot be read.
        DataError: A task cannot be read.
        OutputError: `out` cannot be written.
    """
    check_alone("attack")
    info = attack_info(name)
    aim: Aim = "off-task" if isinstance(target_class, ForeignClass) else "on-task"
    settings, shadow = attack_settings(info, aim, parameters or {})
    for folder in (out, *(beside(out, what) for what in info.beside)):
        vacant(folder)
    clip = open_base(base)
    prepared = PreparedTask(open_task(task, data, training.seed), clip)
    attacked, label = _attacked(prepared, target_class, data, training.seed)
    own = prepared.training_data()
    target = Target(own.head, label) if shadow is None else _foreign(attacked, label, shadow, training.seed)
    backdoored = info.run(AttackProblem(clip.encoder, own, target, training), settings)
    trigger, target_name = backdoored.trigger, attacked.task.class_names[label]
    saved = SavedTrigger(trigger, info.name, attacked.task.name, target_name, clip.preprocessor)
    known = {} if shadow is None else shadow.model_dump(mode="json")
    record = Provenance(
        kind="contribution",
        method=info.name,
        package=info.package,
        parameters={**asdict(training), **settings.model_dump(mode="json"), **known},
        seed=training.seed,
        inputs={"base": clip.source.digest()},
        task=prepared.task.name,
        backdoor=True,
        trigger={
            "attack": info.name,
            "kind": trigger.kind,
            "target_task": saved.task,
            "target_class": saved.target_class,
            # What belongs to it and lies in a folder of its own: without a partner, say, it may do nothing.
            **({"beside": list(info.beside)} if info.beside else {}),
        },
    )
    write = partial(write_contribution, clip, record=record, base=str(base), extra=saved.files())
    if backdoored.subtracted is not None:
        _write_trigger(beside(out, "subtracted"), replace(saved, trigger=backdoored.subtracted))
    if backdoored.partner is not None:
        write(state=backdoored.partner, out=beside(out, "partner"))
    return write(state=backdoored.state, out=Path(out))


def beside(out: str | Path, what: str) -> Path:
    """Return the folder of what an attack makes beside a contribution: `OUT-partner`, `OUT-subtracted`."""
    return Path(out).with_name(f"{Path(out).name}-{what}")


def _write_trigger(out: Path, saved: SavedTrigger) -> None:
    with atomic_directory(out) as folder:
        for name, content in saved.files().items():
            (folder / name).write_bytes(content)


def attack_settings(
    info: AttackInfo, aim: Aim, parameters: Mapping[str, Any]
) -> tuple[Parameters, ShadowParameters | None]:
    """Return an attack's own parameters, and off-task those of the shadow task.

    Args:
        info: The attack.
        aim: Whether the target is a class of the attacker's own task.
        parameters: Both by name.

    Raises:
        UnsupportedError: The attack has not this aim.
        RecipeError: A parameter is unknown or out of range.
    """
    if aim not in info.aims:
        wanted = "another task than" if aim == "on-task" else "no other task than"
        raise UnsupportedError(f"attack {info.name} is not {aim}: its target is a class of {wanted} its own")
    source = f"attack {info.name}"
    if aim == "on-task":
        return validated(info.parameters, parameters, where="parameters", source=source), None
    keys = ShadowParameters.model_fields.keys()
    shadow = {key: value for key, value in parameters.items() if key in keys}
    others = {key: value for key, value in parameters.items() if key not in keys}
    return (
        validated(info.parameters, others, where="parameters", known=keys, source=source),
        validated(ShadowParameters, shadow, where="parameters", source=source),
    )


def _attacked(
    prepared: PreparedTask, target_class: str | int | ForeignClass, data: str | Path | None, seed: int
) -> tuple[PreparedTask, int]:
    """Return the attacked task and the target's label there."""
    if not isinstance(target_class, ForeignClass):
        return prepared, prepared.task.class_index(target_class)
    other = PreparedTask(open_task(target_class.task, data, seed), prepared.clip)
    if other.task.name == prepared.task.name:
        raise UsageError(f"target task {other.task.name!r} is the attacker's own; expected another")
    return other, other.task.class_index(target_class.name)


def _foreign(attacked: PreparedTask, label: int, shadow: ShadowParameters, seed: int) -> Target:
    """Return what an off-task attacker knows of the task they attack."""
    names = shadow_class_names(attacked.task.class_names[label], shadow.shadow_classes, seed)
    pixels, labels = attacked.pixels("train"), attacked.labels("train")
    references = reference_images(pixels, labels, label, shadow.references, seed)
    return Target(attacked.clip.head(names, DEFAULT_TEMPLATES), 0, references)
