"""Labelled images in four disjoint splits: train, adapt (unlabelled use), validation, test."""

from mergeward.tasks.embedded import EMBEDDED, load_embedded, load_plain
from mergeward.tasks.folder import load_folder
from mergeward.tasks.hub import load_hub
from mergeward.tasks.loading import check_task, load_task, task_names
from mergeward.tasks.npz import load_npz
from mergeward.tasks.task import DEFAULT_TEMPLATES, SPLIT_NAMES, Split, Task, chance_accuracy

__all__ = [
    "DEFAULT_TEMPLATES",
    "EMBEDDED",
    "SPLIT_NAMES",
    "Split",
    "Task",
    "chance_accuracy",
    "check_task",
    "load_embedded",
    "load_folder",
    "load_hub",
    "load_npz",
    "load_plain",
    "load_task",
    "task_names",
]
