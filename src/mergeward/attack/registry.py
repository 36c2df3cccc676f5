"""The table of attacks."""

from __future__ import annotations

from mergeward.attack import (
    badmerging_adaptive,
    badmerging_off,
    badmerging_on,
    badnets,
    badtv,
    badvit,
    blended,
    dynamic,
    label_consistent,
    lobam,
    mergebackdoor,
    sig,
    trojannn,
    trojvit,
    wanet,
)
from mergeward.attack.problem import AttackInfo
from mergeward.plugins import Registry

ATTACKS = Registry(
    "attack",
    "mergeward.attacks",
    AttackInfo,
    own=(
        badnets.INFO,
        blended.INFO,
        label_consistent.INFO,
        sig.INFO,
        wanet.INFO,
        dynamic.INFO,
        trojannn.INFO,
        trojvit.INFO,
        badvit.INFO,
        badmerging_on.INFO,
        badmerging_off.INFO,
        badmerging_adaptive.INFO,
        lobam.INFO,
        badtv.INFO,
        mergebackdoor.INFO,
    ),
)
"""Every attack by name."""


def attacks() -> tuple[AttackInfo, ...]:
    """Return every attack."""
    return tuple(ATTACKS.values())


def attack_info(name: str) -> AttackInfo:
    """Return an attack by name; `UsageError` when there is none of that name."""
    return ATTACKS.find(name)
