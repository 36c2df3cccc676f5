"""Many models into one: the registry of methods, and the methods that need weights only."""

from mergeward.merge.method import MethodInfo, NoParameters, Parameters, Weighted
from mergeward.merge.registry import METHODS, method, methods
from mergeward.merge.schedule import check_parameters, schedule, validate_parameters
from mergeward.merge.settings import Schedule, Settings
from mergeward.merge.static.problem import StaticMerge, StaticProblem
from mergeward.merge.stream import merge_static

__all__ = [
    "METHODS",
    "MethodInfo",
    "NoParameters",
    "Parameters",
    "Schedule",
    "Settings",
    "StaticMerge",
    "StaticProblem",
    "Weighted",
    "check_parameters",
    "merge_static",
    "method",
    "methods",
    "schedule",
    "validate_parameters",
]
