"""Hardening after the merge: defenses that change a merged model so that less of a backdoor survives."""

from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem, Inapplicable
from mergeward.defense.registry import defense_info, defenses, inapplicable
from mergeward.defense.run import run_defense

__all__ = [
    "DefenseInfo",
    "HardenProblem",
    "Hardened",
    "Inapplicable",
    "defense_info",
    "defenses",
    "inapplicable",
    "run_defense",
]
