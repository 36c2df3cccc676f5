"""What a static method works on: a base and its contributions, read one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.checkpoint.source import TensorSource

StaticMerge = Callable[[str], Tensor]
"""Maps the name of a tensor in the scope to its merged value, float32 of the base's shape."""


@dataclass(frozen=True)
class StaticProblem:
    """A base, its contributions, and the tensors that take part.

    Attributes:
        base: The pretrained model.
        contributions: Its fine-tunes, with the base's shapes over the scope.
        scope: Names of the tensors that take part, in file order.
    """

    base: TensorSource
    contributions: Sequence[TensorSource]
    scope: Sequence[str]

    def base_values(self, name: str) -> Tensor:
        """Return the base's tensor as a fresh float32 buffer that the caller may overwrite."""
        return self.base.read(name).to(torch.float32, copy=True)

    def contribution_values(self, index: int, name: str) -> Tensor:
        """Return a contribution's tensor as a fresh float32 buffer that the caller may overwrite."""
        return self.contributions[index].read(name).to(torch.float32, copy=True)

    def task_vector(self, index: int, name: str, base: Tensor) -> Tensor:
        """Return a contribution's tensor less `base` (the base's, float32) as a fresh float32 buffer."""
        return self.contribution_values(index, name).sub_(base)
