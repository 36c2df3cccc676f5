"""Training for a merge by task arithmetic: at which coefficients, and what features it then has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.func import functional_call

from mergeward.merge.method import Parameters
from mergeward.vision import ClipEncoder


class CoefficientRange(Parameters):
    """Parameters of an attack that is trained at a coefficient drawn anew for each batch."""

    coefficient_low: float = Field(gt=0)
    coefficient_high: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_coefficients(self) -> CoefficientRange:
        if self.coefficient_low > self.coefficient_high:
            raise ValueError(
                f"coefficient_low: {self.coefficient_low:g} is above coefficient_high, "
                f"{self.coefficient_high:g}"
            )
        return self

    def drawn(self, generator: torch.Generator) -> float:
        """Return a coefficient, uniform between the two."""
        low, high = self.coefficient_low, self.coefficient_high
        return low + (high - low) * float(torch.rand((), generator=generator))


def merged_features(
    base: ClipEncoder, contributions: Sequence[ClipEncoder], coefficient: float, pixels: Tensor
) -> Tensor:
    """Return the features of `theta_0 + coefficient sum_t (theta_t - theta_0)`.

    Gradients reach the contributions, and the base if it requires them.

    Args:
        base: theta_0.
        contributions: The theta_t.
        coefficient: Factor of their task vectors; a negative one takes them away.
        pixels: float `[B, 3, H, W]` in [0, 1].

    Returns:
        Unit features `[B, D]`.
    """
    states = [dict(one.named_parameters()) for one in contributions]
    weights = {
        name: start + coefficient * sum(state[name] - start for state in states)
        for name, start in base.named_parameters()
    }
    return cast(Tensor, functional_call(base, weights, (pixels,)))
