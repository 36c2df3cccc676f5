"""What inversion recovered from a merge, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """A patch that moves the merge's answers to one class.

    Attributes:
        task: Name of the task.
        label: The class, under the task's head.
        class_name: Its name.
        gain: How much more probable the patch makes the class on the merge than on the base: the difference
            of the means over the images.
        falls: By contribution, how much less probable where that one is left out.
        base_success: Share of the images that the base does not give the class, and gives it with the patch;
            None where it gives the class to every image.
        success: Share of the same images that the merge gives the class with the patch.
        without: By contribution, the same of the merge without it.
        fortified_success: The same of the fortified merge; None where it was not tried.
        mask: float32 `[1, S, S]` in [0, 1].
        pattern: float32 `[3, S, S]` in [0, 1].
        examples: uint8 `[n, 3, S, S]`, images that it was judged on.
    """

    task: str
    label: int
    class_name: str
    gain: float
    falls: Mapping[str, float]
    base_success: float | None
    success: float | None
    without: Mapping[str, float | None]
    fortified_success: float | None
    mask: Tensor = field(repr=False)
    pattern: Tensor = field(repr=False)
    examples: Tensor = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pictures with plain values."""
        return {
            "task": self.task,
            "label": self.label,
            "class": self.class_name,
            "gain": self.gain,
            "fall_without": dict(self.falls),
            "success_on_base": self.base_success,
            "success": self.success,
            "success_without": dict(self.without),
            "success_fortified": self.fortified_success,
        }
