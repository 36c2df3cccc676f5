"""Merges as the command does, but with slow passes over the images: for tests to kill."""

from __future__ import annotations

import sys
import time

from mergeward.cli.app import run
from mergeward.merge.adaptive.session import Session

SECONDS_A_PASS = 0.03

over = Session._over


def slowly(self: Session, *given: object) -> object:
    time.sleep(SECONDS_A_PASS)
    return over(self, *given)


Session._over = slowly
sys.exit(run(sys.argv[1:]))
