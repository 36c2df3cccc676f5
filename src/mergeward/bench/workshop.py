"""Makes what cells need, once: contributions, merges, hardened merges, predictions.

Each is an artefact of the content-addressed store, under the hash of all that decides it: the base's
weights, the tasks' images, every setting, the code, and how numeric work is done here. The hash of a model
follows from its description alone, so what has been measured is found without making anything. With a shared
store, what another machine has made is fetched from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mergeward.attack import SavedTrigger, attack_info, load_trigger
from mergeward.attack.problem import Aim
from mergeward.bench.code import code_digest, versions
from mergeward.bench.cost import Cost, costed, read_cost
from mergeward.bench.models import Backdoor, Base, Contribution, Hardened, Merged, Model
from mergeward.cache import artefact, artefact_folder, content_key
from mergeward.checkpoint import open_checkpoint
from mergeward.compute import thread_count
from mergeward.defense import defense_info
from mergeward.evaluate import predict
from mergeward.merge.adaptive.surgery import operate
from mergeward.merge.registry import method
from mergeward.merge.stream import merge_static
from mergeward.shared import SharedStore
from mergeward.tasks import Task, load_task
from mergeward.train import finetune as train
from mergeward.vision import Clip, load_clip
from mergeward.workflow import ForeignClass, PreparedTask, attack, finetune, harden, merge
from mergeward.workflow.backdoor import attack_settings, beside
from mergeward.workflow.contribute import adopt

MODEL, PREDICTIONS, COLLAPSED = "model", "predictions.json", "collapsed.json"
KINDS = {Contribution: "contribution", Merged: "merge", Hardened: "hardened"}
"""The family of artefacts of each model."""


class Workshop:
    """Makes models from one base and the tasks of one place, and lets them predict.

    Attributes:
        base: Folder of the base.
        data: Folder of task files; None for the embedded tasks.
        shared: A store of several machines; None for this machine's alone.
    """

    def __init__(self, base: Path, data: Path | None = None, shared: SharedStore | None = None) -> None:
        self.base = base
        self.data = data
        self.shared = shared
        self._task = lru_cache(maxsize=None)(self._load_task)
        self._prepared = lru_cache(maxsize=None)(self._prepare)
        self._opened = lru_cache(maxsize=1)(load_clip)
        self._digest = lru_cache(maxsize=None)(_digest)

    @cached_property
    def clip(self) -> Clip:
        """The base, loaded."""
        return load_clip(self.base)

    @cached_property
    def base_digest(self) -> str:
        """SHA-256 of the base's weights."""
        return self.clip.source.digest()

    @cached_property
    def _base_key(self) -> str:
        """What decides the base as a model: its weights, its configuration, how it reads images and names."""
        read = (path for path in self.base.iterdir() if path.suffix in {".json", ".txt"})
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in read}
        return content_key({"weights": self.base_digest, "files": files})

    def task(self, spec: str, seed: int) -> Task:
        """Return a task by its spec and the seed of its splits."""
        return self._task(spec, seed)

    def prepared(self, spec: str, seed: int) -> PreparedTask:
        """Return a task prepared for the base."""
        return self._prepared(spec, seed)

    def key(self, model: Model) -> dict[str, Any]:
        """Return all that decides a model, JSON-like."""
        match model:
            case Base():
                return self._common
            case Contribution():
                return self._contribution_key(model)
            case Merged():
                return self._merge_key(model)
            case Hardened():
                info = defense_info(model.defense)
                return {
                    **self._common,
                    **info.identity,
                    "code": code_digest(info.run),
                    "merge": self.key(model.merge),
                    "tasks": self._fingerprints(model.merge),
                    "defense": model.defense,
                    "parameters": dict(model.parameters),
                }

    def folder(self, model: Model) -> Path:
        """Return the folder of a model, making it if need be."""
        if isinstance(model, Base):
            return self.base
        folder = self._artefact(_first(model)) / MODEL
        is_partner = isinstance(model, Contribution) and model.is_partner
        return beside(folder, "partner") if is_partner else folder

    def offer(self, model: Contribution) -> None:
        """Put a contribution that this machine has into the shared store, if there is one."""
        if self.shared is not None:
            self.folder(model)
            self.cost(model)

    def cost(self, model: Contribution | Merged | Hardened) -> Cost:
        """Return what making a model took when it was first made."""
        model = _first(model)

        def measure(folder: Path) -> None:
            self._make_inputs(model)
            with TemporaryDirectory(dir=folder.parent) as scratch:
                self._make_recorded(model, Path(scratch) / MODEL)(folder)

        return read_cost(self._keep("cost", self.key(model), measure))

    def collapsed(self, model: Merged | Hardened) -> tuple[str, ...] | None:
        """Return for which tasks predictions collapsed onto few classes as a model was made, in words.

        Returns:
            None for a model that was made before this was recorded.
        """
        self.cost(model)
        path = artefact_folder("cost", self.key(model)) / COLLAPSED
        return tuple(json.loads(path.read_text())) if path.is_file() else None

    def trigger(self, contribution: Contribution) -> SavedTrigger:
        """Return what activates the backdoor of a contribution."""
        return load_trigger(self.folder(contribution))

    def is_made(self, model: Model) -> bool:
        """Whether a model is in the store."""
        if isinstance(model, Base):
            return True
        return artefact_folder(KINDS[type(model)], self.key(_first(model))).is_dir()

    def has_predicted(
        self, model: Model, tasks: Sequence[str], seed: int, trigger: Contribution | None
    ) -> bool:
        """Whether the predictions are in the store; see `predictions`."""
        return artefact_folder("predictions", self._predictions_key(model, tasks, seed, trigger)).is_dir()

    def predictions(
        self, model: Model, tasks: Sequence[str], seed: int, trigger: Contribution | None = None
    ) -> dict[str, Tensor]:
        """Return what a model answers for the test images of some tasks.

        Args:
            model: The model; it is made only if it has not been asked this before.
            tasks: Specs of the tasks.
            seed: Seed of their splits.
            trigger: Contribution whose trigger is on the images, if one is.

        Returns:
            Predicted labels, int64 `[N]`, by spec.
        """

        def make(folder: Path) -> None:
            labels = self._predict(model, tasks, seed, trigger)
            (folder / PREDICTIONS).write_text(json.dumps(labels))

        configuration = self._predictions_key(model, tasks, seed, trigger)
        content = json.loads((self._keep("predictions", configuration, make) / PREDICTIONS).read_text())
        return {spec: torch.tensor(labels) for spec, labels in zip(tasks, content, strict=True)}

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {
            "versions": versions(),
            "threads": thread_count(),
            "base": self._base_key,
        }

    def _contribution_key(self, model: Contribution) -> dict[str, Any]:
        if model.published is not None:
            published = {"published": self._digest(model.published), "task": model.task}
            return {**self._common, "code": code_digest(adopt), **published}
        key = {
            **self._common,
            "code": code_digest(train),
            "task": self.task(model.task, model.seed).fingerprint,
            "training": asdict(model.training),
        }
        if model.backdoor is None:
            return key
        info = attack_info(model.backdoor.attack)
        return {
            **key,
            **info.identity,
            **({"partner": True} if model.is_partner else {}),
            "attack": info.name,
            "attack_code": code_digest(info.run),
            "target_task": self.task(model.backdoor.target_task, model.seed).fingerprint,
            "target_class": model.backdoor.target_class,
            "parameters": _settings(model.backdoor, own_task=model.task),
        }

    def _merge_key(self, model: Merged) -> dict[str, Any]:
        info = method(model.method)
        key = {
            **self._common,
            **info.identity,
            "code": [code_digest(info.run), code_digest(merge_static)],
            "pool": [self.key(one) for one in model.pool],
            "method": info.name,
            "parameters": dict(model.parameters),
            "seed": model.seed,
        }
        if model.surgery is not None:
            key |= {"surgery": dict(model.surgery), "surgery_code": code_digest(operate)}
        if not info.needs_images and model.surgery is None:
            return key
        return {**key, "tasks": self._fingerprints(model)}

    def _predictions_key(
        self, model: Model, tasks: Sequence[str], seed: int, trigger: Contribution | None
    ) -> dict[str, Any]:
        return {
            **self._common,
            "code": code_digest(predict),
            "model": self.key(model),
            "tasks": [self.task(spec, seed).fingerprint for spec in tasks],
            "trigger": None if trigger is None else self.key(trigger),
        }

    def _fingerprints(self, merged: Merged) -> list[str]:
        return [self.task(one.task, merged.seed).fingerprint for one in merged.pool]

    def _keep(self, kind: str, configuration: dict[str, Any], make: Callable[[Path], None]) -> Path:
        return artefact(kind, configuration, make, self.shared)

    def _artefact(self, model: Contribution | Merged | Hardened) -> Path:
        def make(folder: Path) -> None:
            self._make_inputs(model)
            record = self._make_recorded(model, folder / MODEL)
            self._keep("cost", self.key(model), record)

        return self._keep(KINDS[type(model)], self.key(model), make)

    def _make_inputs(self, model: Contribution | Merged | Hardened) -> None:
        """Make what a model is made from, so that its cost is its own."""
        match model:
            case Merged():
                for one in model.pool:
                    self.folder(one)
            case Hardened():
                self.folder(model.merge)

    def _make_recorded(self, model: Contribution | Merged | Hardened, out: Path) -> Callable[[Path], None]:
        """Make a model, and return what writes into a folder what that took and which collapses it told."""
        told: list[str] = []
        cost = costed(lambda: told.extend(self._make(model, out)))

        def write(folder: Path) -> None:
            cost.write(folder)
            (folder / COLLAPSED).write_text(json.dumps(told))

        return write

    def _make(self, model: Contribution | Merged | Hardened, out: Path) -> Sequence[str]:
        """Make a model, and return for which tasks predictions collapsed, in words."""
        told: list[str] = []
        match model:
            case Contribution(published=str(published)):
                adopt(self.base, published, self.task(model.task, model.seed).name, out)
            case Contribution(backdoor=None):
                finetune(self.base, self.task(model.task, model.seed), out, training=model.training)
            case Contribution():
                self._attack(model, out)
            case Merged():
                told.extend(merge(self._recipe(model), out).record.get("collapsed", {}).values())
            case Hardened():
                tasks = [self.task(one.task, model.merge.seed) for one in model.merge.pool]
                harden(
                    self.folder(model.merge),
                    self.base,
                    model.defense,
                    tasks,
                    out,
                    seed=model.merge.seed,
                    parameters=model.parameters,
                    on_collapse=told.append,
                )
        return told

    def _attack(self, model: Contribution, out: Path) -> None:
        backdoor = model.backdoor
        if backdoor is None:
            raise ValueError("a clean contribution is not made by an attack")
        foreign = ForeignClass(self.task(backdoor.target_task, model.seed), backdoor.target_class)
        attack(
            backdoor.attack,
            self.base,
            self.task(model.task, model.seed),
            backdoor.target_class if backdoor.target_task == model.task else foreign,
            out,
            training=model.training,
            parameters=backdoor.parameters,
        )

    def _recipe(self, model: Merged) -> dict[str, Any]:
        surgery = {} if model.surgery is None else {"surgery": dict(model.surgery)}
        return surgery | {
            "merge_method": model.method,
            "base_model": str(self.base),
            "models": [{"model": str(self.folder(one)), "task": one.task} for one in model.pool],
            "parameters": dict(model.parameters),
            "data": None if self.data is None else str(self.data),
            "seed": model.seed,
            "dtype": "float32",
        }

    def _predict(
        self, model: Model, tasks: Sequence[str], seed: int, trigger: Contribution | None
    ) -> list[list[int]]:
        clip = self.clip if isinstance(model, Base) else self._opened(self.folder(model))
        pasted = None if trigger is None else self.trigger(trigger).trigger
        prepared = [self.prepared(spec, seed) for spec in tasks]
        return [
            predict(clip.encoder_for(one.task.name), one.pixels("test"), one.head, pasted).tolist()
            for one in prepared
        ]

    def _load_task(self, spec: str, seed: int) -> Task:
        return load_task(spec, data=self.data, seed=seed)

    def _prepare(self, spec: str, seed: int) -> PreparedTask:
        return PreparedTask(self.task(spec, seed), self.clip)


def _settings(backdoor: Backdoor, own_task: str) -> dict[str, Any]:
    """Return every parameter of an attack, defaults too: a default that is spelt out changes nothing."""
    aim: Aim = "on-task" if backdoor.target_task == own_task else "off-task"
    own, shadow = attack_settings(attack_info(backdoor.attack), aim, backdoor.parameters)
    return {
        name: value for part in (own, shadow) if part for name, value in part.model_dump(mode="json").items()
    }


def _digest(model: str) -> str:
    """Return the SHA-256 of a model's weights."""
    with open_checkpoint(model) as opened:
        return opened.digest()


def _first(model: Contribution | Merged | Hardened) -> Contribution | Merged | Hardened:
    """Return what a model is made together with: of two contributions of one attack, the first."""
    return replace(model, is_partner=False) if isinstance(model, Contribution) else model
