"""Random masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bernoulli(
    generator: np.random.Generator, shape: tuple[int, ...], probability: float | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Draw a mask.

    One random byte decides most values: below 256 times the probability is true, above is false. Only the
    values whose byte is equal to the whole part, one in 256, need a further draw, so the probability is
    exact to the last bit of a float64.

    Args:
        generator: What to draw from; its bits depend on nothing else.
        shape: Shape of the mask.
        probability: Of true, in [0, 1]; one for all, or one for each place of the last dimension.
    """
    count = int(np.prod(shape))
    words = generator.bit_generator.random_raw(-(-count // 8))
    draws = words.astype("<u8", copy=False).view(np.uint8)[:count].reshape(shape)
    scaled = np.asarray(probability, np.float64) * 256
    whole = np.minimum(np.floor(scaled), 255).astype(np.uint8)
    mask: NDArray[np.bool_] = draws < whole
    edge = np.flatnonzero(draws == whole)
    rest = np.atleast_1d(scaled - whole)
    mask.reshape(-1)[edge] = generator.random(edge.size) < rest[edge % rest.size]
    return mask
