"""Many models into one: the registry of methods, and the methods that need weights only."""

from mergeward.merge.method import MethodInfo, NoParameters, Parameters, Weighted
from mergeward.merge.registry import METHODS, method, methods, validate_parameters
from mergeward.merge.stream import merge_static

__all__ = [
    "METHODS",
    "MethodInfo",
    "NoParameters",
    "Parameters",
    "Weighted",
    "merge_static",
    "method",
    "methods",
    "validate_parameters",
]
