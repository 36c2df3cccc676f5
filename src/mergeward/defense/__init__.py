"""Hardening after the merge: defenses that change a merged model so that less of a backdoor survives."""

from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.registry import defense_info, defenses

__all__ = ["DefenseInfo", "HardenProblem", "Hardened", "defense_info", "defenses"]
