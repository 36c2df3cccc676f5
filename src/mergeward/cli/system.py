"""What the operating system may refuse at any place, as errors of ours."""

from __future__ import annotations

import errno

import torch

from mergeward.errors import UNWRITABLE, MergewardError, OutputError, UsageError

NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)


def as_ours(error: OSError) -> MergewardError | None:
    """Return what a user is told of a refusal that they can do something about; None of any other."""
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror}"
    if error.errno in UNWRITABLE:
        return OutputError(text)
    return UsageError(text) if error.errno in NO_PATH else None


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory; PyTorch has a type of its own for that on accelerators only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
