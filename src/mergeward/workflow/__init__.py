"""One function for each job a user has: contribute, merge, harden, evaluate."""

from mergeward.workflow.backdoor import ForeignClass, attack
from mergeward.workflow.contribute import finetune
from mergeward.workflow.convert import Conversion, convert
from mergeward.workflow.curve import Tradeoff
from mergeward.workflow.evaluate import Evaluation, evaluate
from mergeward.workflow.harden import harden
from mergeward.workflow.inspect import Inspection, inspect
from mergeward.workflow.merge import MergeReport, merge
from mergeward.workflow.opened import PreparedTask, open_base, open_task
from mergeward.workflow.plan import MergePlan, plan_merge
from mergeward.workflow.prior_audit import PriorAudit
from mergeward.workflow.tradeoff import tradeoff

__all__ = [
    "Conversion",
    "Evaluation",
    "ForeignClass",
    "Inspection",
    "MergePlan",
    "MergeReport",
    "PreparedTask",
    "PriorAudit",
    "Tradeoff",
    "attack",
    "convert",
    "evaluate",
    "finetune",
    "harden",
    "inspect",
    "merge",
    "open_base",
    "open_task",
    "plan_merge",
    "tradeoff",
]
