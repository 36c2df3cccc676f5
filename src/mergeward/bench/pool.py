"""The contributions that a grid of cells merges: made once, kept by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mergeward.cache import artefact
from mergeward.provenance import package_version
from mergeward.tasks import Task
from mergeward.train import FinetuneConfig
from mergeward.workflow import attack, finetune


@dataclass(frozen=True)
class Maker:
    """Makes contributions to one base.

    Attributes:
        base: Path of the base.
        base_digest: SHA-256 of its weights.
    """

    base: Path
    base_digest: str

    def clean(self, task: Task, training: FinetuneConfig) -> Path:
        """Return a clean fine-tune of the base, from the cache or made now."""
        return self._made(
            self._configuration("finetune", task, training),
            lambda out: finetune(self.base, task, out, training=training),
        )

    def backdoored(
        self,
        name: str,
        task: Task,
        target_class: str,
        training: FinetuneConfig,
        parameters: Mapping[str, Any] | None = None,
    ) -> Path:
        """Return a contribution made by an attack, with its trigger, from the cache or made now."""
        extra = {"target_class": target_class, "parameters": dict(parameters or {})}
        return self._made(
            self._configuration(name, task, training) | extra,
            lambda out: attack(
                name, self.base, task, target_class, out, training=training, parameters=parameters
            ),
        )

    def _configuration(self, made_by: str, task: Task, training: FinetuneConfig) -> dict[str, Any]:
        return {
            "version": package_version(),
            "base": self.base_digest,
            "made_by": made_by,
            "task": task.fingerprint,
            "training": asdict(training),
        }

    @staticmethod
    def _made(configuration: Mapping[str, Any], make: Any) -> Path:
        return artefact("contribution", configuration, lambda folder: make(folder / "model")) / "model"
