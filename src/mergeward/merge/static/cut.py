"""What is left of a task vector when all but its largest magnitudes are zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

EVERYWHERE = 1 << 62
"""A place after every value of every tensor."""


@dataclass(frozen=True)
class Cut:
    """Where the largest magnitudes begin.

    Attributes:
        threshold: The smallest magnitude that is among them.
        last: The place in the tensor of the last value at the threshold that is among them.
    """

    threshold: float
    last: int = EVERYWHERE

    def keep(self, tau: Tensor, start: int) -> Tensor:
        """Return the values that are among the largest, and zero for the others.

        Args:
            tau: Values of a task vector, float32, flat; it may be returned itself.
            start: Their place in the tensor.
        """
        if self.last >= start + tau.numel():
            return _above(tau, _before(self.threshold)) if self.threshold else tau
        kept = _above(tau, self.threshold)
        if self.last >= start:
            among = slice(0, self.last - start + 1)
            kept[among] = _above(tau[among], _before(self.threshold))
        return kept


ALL = Cut(0.0)
"""Every value is among the largest."""
NONE = Cut(math.inf)
"""No value is."""


def smallest_kept(size: int, density: float) -> int:
    """Return the rank of the smallest magnitude that is kept, from 1 for the least; 0 where all are.

    It is d - int(d * density) for d values, as in the code of the authors of TIES, where all values at that
    magnitude are kept.
    """
    return size - int(size * density)


def _above(values: Tensor, threshold: float) -> Tensor:
    # hardshrink sets to zero what is not above its bound, in one pass.
    return F.hardshrink(values, threshold)


def _before(magnitude: float) -> float:
    """Return the float32 just below a magnitude above zero."""
    return float(np.nextafter(np.float32(magnitude), np.float32(0)))
