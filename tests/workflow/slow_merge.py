"""Merges as the command does, but slowly, and safe on the disk after every few tensors: for tests to kill."""

from __future__ import annotations

import os
import signal
import sys
import time

from mergeward.checkpoint import weights
from mergeward.checkpoint.writer import Output
from mergeward.cli.app import run

SECONDS_A_PIECE = float(os.environ["SECONDS_A_PIECE"])

weights.SYNC_BYTES = 1 << 20
write = Output.write


def slowly(self: Output, piece: object) -> None:
    time.sleep(SECONDS_A_PIECE)
    write(self, piece)


Output.write = slowly
# A shell has what it runs in the background ignore Ctrl-C, and what that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(run(sys.argv[1:]))
