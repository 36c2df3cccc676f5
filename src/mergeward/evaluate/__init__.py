"""Accuracy, attack success, and their intervals."""

from mergeward.evaluate.measure import accuracy, attack_success, predict
from mergeward.evaluate.rate import Rate

__all__ = ["Rate", "accuracy", "attack_success", "predict"]
