"""The table of stages, from cheap to dear: one line a stage."""

from __future__ import annotations

from mergeward.audit import hygiene, statistics
from mergeward.audit.stage import Stage

STAGES: tuple[Stage, ...] = (
    hygiene.STAGE,
    statistics.STAGE,
)
"""Every stage, in the order in which they run; each leaves out what an earlier one failed on."""

NOT_COVERED = (
    "backdoors that no record admits to: the statistics rank contributions and decide nothing",
    "trigger inversion on the base, the contributions and the merge",
    "leave-one-out merges, which would attribute a backdoor found in the merge",
    "backdoors that only a merge activates, every contribution being clean alone",
    "contributors who act together: the statistics compare each with the others",
)
"""What no stage looks at yet; part of every report."""
