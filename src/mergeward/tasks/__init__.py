"""Labelled images in four disjoint splits: train, adapt (unlabelled use), validation, test."""

from mergeward.tasks.npz import load_npz
from mergeward.tasks.task import DEFAULT_TEMPLATES, SPLIT_NAMES, Split, Task, chance_accuracy

__all__ = ["DEFAULT_TEMPLATES", "SPLIT_NAMES", "Split", "Task", "chance_accuracy", "load_npz"]
