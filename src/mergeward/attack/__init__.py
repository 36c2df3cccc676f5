"""Backdoored contributions and their triggers, made to measure defenses against."""

from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored, Target
from mergeward.attack.registry import attack_info, attacks
from mergeward.attack.trigger import PatchTrigger, SavedTrigger, Trigger, load_trigger

__all__ = [
    "AttackInfo",
    "AttackProblem",
    "Backdoored",
    "PatchTrigger",
    "SavedTrigger",
    "Target",
    "Trigger",
    "attack_info",
    "attacks",
    "load_trigger",
]
