"""The table of stages, from cheap to dear: one line a stage."""

from __future__ import annotations

from mergeward.audit import hygiene, statistics, triggers
from mergeward.audit.stage import Stage

STAGES: tuple[Stage, ...] = (
    hygiene.STAGE,
    statistics.STAGE,
    triggers.STAGE,
)
"""Every stage, in the order in which they run; each leaves out what an earlier one failed on."""

NOT_COVERED = (
    "triggers other than a patch on 3 % of the image: faint patterns over all of it, warps, one an image",
    "classes beyond the few at which the merge is furthest from the base",
    "classes of tasks that no contribution names",
    "contributors who act together, so that a backdoor stays whichever one of them is left out",
    "a backdoor in the base, and triggers that work on the base as well: contributions are compared with it",
    "code and files beside the weights: nothing of a contribution but its tensors is used",
)
"""What no stage looks at; part of every report."""
