"""Which contribution is suspect, on what evidence, and what was not examined."""

from mergeward.audit.report import AuditReport, BaseReport, ContributionReport, Evidence, Failure, Verdict
from mergeward.audit.run import audit
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.audit.stages import STAGES

__all__ = [
    "STAGES",
    "AuditReport",
    "BaseReport",
    "ContributionReport",
    "Evidence",
    "Failure",
    "Pool",
    "Stage",
    "StageResult",
    "Verdict",
    "audit",
]
