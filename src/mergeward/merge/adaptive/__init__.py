"""Merges that learn from unlabelled images: coefficients and masks, through one shared engine."""

from __future__ import annotations

from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult, UnlabelledTask

__all__ = ["AdaptiveProblem", "AdaptiveResult", "UnlabelledTask"]
