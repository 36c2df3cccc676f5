"""The options of every benchmark script."""

from __future__ import annotations

import argparse
from pathlib import Path

from mergeward.cache import cache_root


def default_cache() -> Path:
    """Return the folder for environments and checkpoints, within mergeward's own cache."""
    return cache_root() / "benchmarks"


REPEATS = 5
"""Runs of each command, where the options do not say; with `--quick` one."""


def parser(description: str, *, repeated: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options that every script in `benchmarks/` takes.

    Args:
        description: What the script does, for its help.
        repeated: Whether it runs the same several times.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--quick", action="store_true", help="small inputs: tens of megabytes, under two minutes"
    )
    if repeated:
        made.add_argument(
            "--repeats", type=positive, help=f"runs of each command, in turn ({REPEATS}; with --quick 1)"
        )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows and the setting to FILE")
    made.add_argument(
        "--cache", type=Path, default=default_cache(), help="environments and checkpoints (%(default)s)"
    )
    return made


def add_contributions(made: argparse.ArgumentParser) -> None:
    """Add the options that say which contributions are there already, of which base and tasks."""
    made.add_argument("--base", default="embedded", help="a base (%(default)s)")
    made.add_argument("--data", type=Path, help="folder of task files; default the embedded tasks")
    made.add_argument(
        "--contributions",
        type=Path,
        nargs="+",
        default=[cache_root() / "contribution"],
        help="folders with contributions, at any depth (%(default)s)",
    )


def repeats(given: argparse.Namespace) -> int:
    """Return how often each command is to run."""
    return int(given.repeats or (1 if given.quick else REPEATS))


def positive(text: str) -> int:
    """Parse a whole number of at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def numbers(text: str) -> list[int]:
    """Parse whole numbers with commas between."""
    return [int(part) for part in text.split(",")]
