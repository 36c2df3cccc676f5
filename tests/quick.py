"""Budgets in which merge methods run in a moment on the tiny CLIP.

Every adaptive method has a row, and the static ones that the tests of the demonstration show.
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
}
