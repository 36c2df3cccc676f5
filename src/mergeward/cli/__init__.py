"""The command line: parse, call one library function, render."""

from mergeward.cli.app import main

__all__ = ["main"]
