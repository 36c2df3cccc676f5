"""Random draws that depend on what they are for, never on when or where they run.

A generator is seeded by a hash of (seed, purpose, names), so the same draw gives the same bits for any
thread count, order of work, shard layout or `PYTHONHASHSEED`. Nothing in the package touches global
random state.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return the 63-bit seed of one purpose, e.g. `derived_seed(0, "finetune", "digits")`."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU `torch.Generator` for one purpose."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a `numpy.random.Generator` for one purpose."""
    return np.random.default_rng(derived_seed(seed, *purpose))
