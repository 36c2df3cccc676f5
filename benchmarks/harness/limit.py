"""The least that a merge must do: read every input once, write an output of a given size, sync it.

    python benchmarks/harness/limit.py OUTPUT BYTES INPUT...

Prints the seconds that this took, without Python's own start. Needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

BLOCK = 8 << 20


def seconds(output: str, size: int, inputs: Sequence[str]) -> float:
    """Read `inputs`, write and sync `size` bytes at `output`, and return how long both took together."""
    block = memoryview(bytearray(os.urandom(BLOCK)))
    begin = time.perf_counter()
    for path in inputs:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - no import that costs time
            while file.readinto(block):
                pass
    with open(output, "wb", buffering=0) as file:  # noqa: PTH123
        file.writelines(block[: min(BLOCK, size - start)] for start in range(0, size, BLOCK))
        os.fsync(file.fileno())
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.stdout.write(f"{seconds(sys.argv[1], int(sys.argv[2]), sys.argv[3:])}\n")
