"""Several processes that compute one thing together, each its share.

A launcher (`torchrun`, `accelerate launch`) starts them and tells each its number in the environment. Without
one there is a single process, and nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mergeward.errors import UsageError

Value = TypeVar("Value")


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Let the processes that a launcher started, if it did, work together inside the block.

    Args:
        device: Where they compute. Tensors there and names are told through gloo on the processor, tensors
            on CUDA devices through NCCL, which takes each process's present device for its own.

    Raises:
        UsageError: `WORLD_SIZE` is not a positive whole number.
    """
    if _launched() < 2 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_alone(command: str) -> None:
    """Check that no launcher started several processes, for work that each of them would do whole.

    Args:
        command: The work, for the error.

    Raises:
        UsageError: One did, or `WORLD_SIZE` is not a positive whole number.
    """
    if _launched() > 1:
        raise UsageError(
            f"{command}: {_launched()} processes were launched (WORLD_SIZE), and each would do all of it; "
            "start it once, without a launcher"
        )


def _launched() -> int:
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"WORLD_SIZE={text!r}: expected a positive whole number, as a launcher sets it")
    return int(text)


def own_device(name: str) -> str:
    """Return the device of this process: of a launcher's processes each has a CUDA device of its own."""
    number = os.environ.get("LOCAL_RANK")
    return f"cuda:{number}" if name == "cuda" and number is not None else name


def process_count() -> int:
    """Return how many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_number() -> int:
    """Return this one's number among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def add_up(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over all processes, in place, and return it."""
    if process_count() > 1:
        dist.all_reduce(tensor)
    return tensor


def from_first(value: Value | None) -> Value:
    """Return the value that the first process gives; the others may give None."""
    values = [value]
    if process_count() > 1:
        dist.broadcast_object_list(values, src=0)
    first = values[0]
    if first is None:
        raise ValueError("the first process gave no value")
    return first


def wait_for_all() -> None:
    """Return when every process has come here."""
    if process_count() > 1:
        dist.barrier()
