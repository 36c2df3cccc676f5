"""The options of every benchmark script."""

from __future__ import annotations

import argparse
from pathlib import Path

from mergeward.cache import cache_root


def default_cache() -> Path:
    """Return the folder for environments and checkpoints, within mergeward's own cache."""
    return cache_root() / "benchmarks"


def parser(description: str, *, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every script in `benchmarks/` takes.

    Args:
        description: What the script does, for its help.
        repeats: Default number of repetitions.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--quick", action="store_true", help="small inputs: tens of megabytes, under two minutes"
    )
    made.add_argument(
        "--repeats", type=positive, default=repeats, help="runs of each command, in turn (%(default)s)"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows and the setting to FILE")
    made.add_argument(
        "--cache", type=Path, default=default_cache(), help="environments and checkpoints (%(default)s)"
    )
    return made


def positive(text: str) -> int:
    """Parse a whole number of at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number
