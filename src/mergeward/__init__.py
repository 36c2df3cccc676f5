"""Merge neural-network checkpoints that other people trained, and know what you let in.

Example:
    >>> import mergeward as mw
    >>> mw.merge("recipe.yaml", "merged")  # doctest: +SKIP
"""

from mergeward.attack import load_trigger
from mergeward.audit import AuditReport, audit, audit_and_merge
from mergeward.errors import MergewardError
from mergeward.provenance import package_version
from mergeward.recipe import Recipe, load_recipe
from mergeward.tasks import Task, load_task
from mergeward.train import FinetuneConfig
from mergeward.vision import load_clip
from mergeward.workflow import (
    Evaluation,
    ForeignClass,
    MergeReport,
    attack,
    convert,
    evaluate,
    finetune,
    harden,
    inspect,
    merge,
    tradeoff,
)

__version__ = package_version()

__all__ = [
    "AuditReport",
    "Evaluation",
    "FinetuneConfig",
    "ForeignClass",
    "MergeReport",
    "MergewardError",
    "Recipe",
    "Task",
    "attack",
    "audit",
    "audit_and_merge",
    "convert",
    "evaluate",
    "finetune",
    "harden",
    "inspect",
    "load_clip",
    "load_recipe",
    "load_task",
    "load_trigger",
    "merge",
    "tradeoff",
]
