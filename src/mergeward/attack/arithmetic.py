"""The encoder that a merge by task arithmetic makes, as a function of contributions still being trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor
from torch.func import functional_call

from mergeward.vision import ClipEncoder


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
