"""A pool of contributions that name their tasks, all of them clean or one with a backdoor, and its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = ("warm", "cold", "mild")
ATTACKED = "cold"
TARGET = "red square"


@dataclass(frozen=True)
class Attacked:
    """Folders that tests read and do not write to."""

    base: Path
    data: Path
    clean: dict[str, Path]
    backdoored: Path

    def recipe(self, *, clean: bool = False, **changed: Any) -> dict[str, Any]:
        """What would merge them; all clean, or with the backdoored one in place of its task's clean one."""
        models = self.clean if clean else {**self.clean, ATTACKED: self.backdoored}
        return {
            "merge_method": "task_arithmetic",
            "base_model": str(self.base),
            "models": [{"model": str(model), "task": task} for task, model in models.items()],
            "data": str(self.data),
            "parameters": {"weight": 0.5},
            **changed,
        }
