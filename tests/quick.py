"""Budgets in which each merge method runs in a moment on the tiny CLIP; a method without a row fails."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "average": {},
    "task_arithmetic": {},
    "ties": {},
    "adamerging": {"steps": 2, "batch_size": 4},
    "dam": {"steps": 2, "coefficient_steps": 1, "batch_size": 4},
}
