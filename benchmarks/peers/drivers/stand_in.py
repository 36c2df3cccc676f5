"""What FusionBench's classes ask of those around them, without what these would load or log."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor


class Fabric:
    """Lightning's fabric, on one processor; notes the time whenever something is logged.

    Attributes:
        times: When that was.
    """

    is_global_zero = True

    def __init__(self) -> None:
        self.times: list[float] = []

    def setup(self, *modules: Any) -> Any:
        """Return what was given, which says where it is."""
        for one in modules:
            one.device = torch.device("cpu")
        return modules if len(modules) > 1 else modules[0]

    def to_device(self, value: Any) -> Any:
        """Return what was given."""
        return value

    def backward(self, loss: Tensor, **options: Any) -> None:
        """Compute gradients."""
        loss.backward(**options)

    def log_dict(self, *_: Any, **__: Any) -> None:
        """Note the time; the classes call this at the end of every step."""
        self.times.append(time.perf_counter())


class Driven:
    """Stands before one of the classes; `_own_fabric` is its fabric."""

    _own_fabric: Fabric

    @property
    def fabric(self) -> Fabric:
        """The stand-in."""
        return self._own_fabric

    @property
    def is_debug_mode(self) -> bool:
        """Run as many steps as asked for."""
        return False

    def print_profile_summary(self, *_: Any, **__: Any) -> None:
        """Print nothing."""
