"""Which contribution is suspect, on what evidence, and what was not examined."""

from mergeward.audit.budget import Budget
from mergeward.audit.clean_pools import make_reference
from mergeward.audit.finding import Finding
from mergeward.audit.merging import audit_and_merge
from mergeward.audit.policy import Audited, audited, check_policy
from mergeward.audit.reference import Reference, read_reference
from mergeward.audit.report import AuditReport, BaseReport, ContributionReport, Evidence, Failure, Verdict
from mergeward.audit.run import audit
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.audit.stages import STAGES

__all__ = [
    "STAGES",
    "AuditReport",
    "Audited",
    "BaseReport",
    "Budget",
    "ContributionReport",
    "Evidence",
    "Failure",
    "Finding",
    "Pool",
    "Reference",
    "Stage",
    "StageResult",
    "Verdict",
    "audit",
    "audit_and_merge",
    "audited",
    "check_policy",
    "make_reference",
    "read_reference",
]
