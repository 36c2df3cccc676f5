"""The curve over alpha as data: accuracy and attack success of each of its merges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

from mergeward.attack import SavedTrigger
from mergeward.evaluate import Rate
from mergeward.evaluate.rate import Z_95

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Measured:
    """What one model does.

    Attributes:
        accuracy: Accuracy on each task.
        attack_success: Success of the trigger on its task, over images whose true class is not the target.
        collapsed: Tasks whose predictions collapsed onto few classes, with what happened in words.
    """

    accuracy: Mapping[str, Rate]
    attack_success: Rate
    collapsed: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean_accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(rate.value for rate in self.accuracy.values()) / len(self.accuracy)

    @property
    def mean_interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by the normal approximation: images of each task are drawn apart."""
        variances = [rate.value * (1 - rate.value) / rate.trials for rate in self.accuracy.values()]
        half = Z_95 * math.sqrt(sum(variances)) / len(variances)
        return max(0.0, self.mean_accuracy - half), min(1.0, self.mean_accuracy + half)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; rates lie between 0 and 1."""
        return {
            "accuracy": self.mean_accuracy,
            "accuracy_interval": list(self.mean_interval),
            "accuracy_by_task": {name: rate.value for name, rate in self.accuracy.items()},
            "asr": self.attack_success.value,
            "asr_interval": list(self.attack_success.interval),
            "collapsed": dict(self.collapsed),
        }

    def to_notes(self) -> dict[str, Any]:
        """Return everything in it with plain values; `from_notes` reads them."""
        return {
            "accuracy": {name: astuple(rate) for name, rate in self.accuracy.items()},
            "attack_success": astuple(self.attack_success),
            "collapsed": dict(self.collapsed),
        }

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Measured:
        """Return what `to_notes` gave the values of."""
        accuracy = {name: Rate(*rate) for name, rate in notes["accuracy"].items()}
        return cls(accuracy, Rate(*notes["attack_success"]), notes["collapsed"])


@dataclass(frozen=True)
class Point:
    """One merge of the curve.

    Attributes:
        alpha: Weight of the safety loss.
        merge: The merge with the backdoored contribution.
        control: The merge with a clean contribution in its place, under the same trigger; None without one.
    """

    alpha: float
    merge: Measured
    control: Measured | None


@dataclass(frozen=True)
class Tradeoff:
    """The curve over alpha.

    Attributes:
        method: Merge method.
        trigger: The trigger, and what it is for.
        split: The images that were measured on.
        points: One for each alpha, in the order asked for.
        base: The base alone, under the same trigger: what the trigger does without any contribution.
    """

    method: str
    trigger: SavedTrigger
    split: Split
    points: tuple[Point, ...]
    base: Measured

    def to_json(self) -> dict[str, Any]:
        """Return plain values; rates lie between 0 and 1."""
        return {
            "method": self.method,
            "attack": self.trigger.attack,
            "target_task": self.trigger.task,
            "target_class": self.trigger.target_class,
            "split": self.split,
            "base": self.base.to_json(),
            "points": [
                {
                    "alpha": point.alpha,
                    **point.merge.to_json(),
                    "control": None if point.control is None else point.control.to_json(),
                }
                for point in self.points
            ],
        }
