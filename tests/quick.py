"""Budgets in which merge methods and defenses run in a moment on the tiny CLIP.

Every adaptive method has a row, and the static ones that the tests of the demonstration show; so has every
defense.
"""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "average": {},
    "task_arithmetic": {},
    "ties": {},
    "fisher": {"images": 4},
    "regmean": {"images": 4},
    "adamerging": {"steps": 2, "batch_size": 4},
    "concrete_task_arithmetic": {"steps": 2, "batch_size": 4},
    "concrete_adamerging": {"steps": 2, "coefficient_steps": 1, "batch_size": 4},
    "dam": {"steps": 2, "coefficient_steps": 1, "batch_size": 4},
    "fortify": {"steps": 2, "batch_size": 4, "triggers": 2, "head_start": 1},
}

QUICK_DEFENSES: dict[str, dict[str, Any]] = {
    "fine_pruning": {},
    "anp": {"steps": 2, "batch_size": 4, "threshold": 1.0},
    "awm": {"steps": 2, "batch_size": 4, "mask_lr": 0.1},
    "sau": {"steps": 2, "batch_size": 4, "mask_lr": 0.1},
    "wag": {},
    "fortify": {"steps": 2, "batch_size": 4, "triggers": 2, "head_start": 1},
}
