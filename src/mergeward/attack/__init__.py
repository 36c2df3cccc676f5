"""Backdoored contributions and their triggers, made to measure defenses against."""

from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored
from mergeward.attack.registry import attack_info, attacks
from mergeward.attack.trigger import PatchTrigger, SavedTrigger, load_trigger

__all__ = [
    "AttackInfo",
    "AttackProblem",
    "Backdoored",
    "PatchTrigger",
    "SavedTrigger",
    "attack_info",
    "attacks",
    "load_trigger",
]
