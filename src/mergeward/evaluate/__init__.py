"""Accuracy, attack success, and their intervals."""

from mergeward.evaluate.measure import accuracy, attack_success, predict, transfer
from mergeward.evaluate.rate import Difference, Rate

__all__ = ["Difference", "Rate", "accuracy", "attack_success", "predict", "transfer"]
