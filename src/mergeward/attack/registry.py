"""The table of attacks."""

from __future__ import annotations

from mergeward.attack import (
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
from mergeward.errors import unknown_name

_ATTACKS: dict[str, AttackInfo] = {
    module.INFO.name: module.INFO
    for module in (
        badnets,
        blended,
        label_consistent,
        sig,
        wanet,
        dynamic,
        trojannn,
        trojvit,
        badvit,
        badmerging_on,
        badmerging_off,
        lobam,
        badtv,
        mergebackdoor,
    )
}


def attacks() -> tuple[AttackInfo, ...]:
    """Return every attack."""
    return tuple(_ATTACKS.values())


def attack_info(name: str) -> AttackInfo:
    """Return an attack by name; `UsageError` when there is none of that name."""
    if name not in _ATTACKS:
        raise unknown_name("attack", name, _ATTACKS)
    return _ATTACKS[name]
