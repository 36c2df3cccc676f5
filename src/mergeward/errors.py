"""Everything that a user can cause to go wrong, each with the exit code the command line ends with."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of the system's errors that say that something cannot be written."""


class MergewardError(Exception):
    """Base of every error raised on purpose; its text is one line a user can act on."""

    exit_code = 1


class UsageError(MergewardError):
    """A name, option or combination that does not exist (method, task, class, split, ...)."""

    exit_code = 2


class RecipeError(MergewardError):
    """A recipe that cannot be read, or that asks for something impossible."""

    exit_code = 3


class CheckpointError(MergewardError):
    """A model file that is missing, malformed, hostile, or not a fine-tune of the base."""

    exit_code = 4


class CompatibilityError(CheckpointError):
    """Contributions that are no fine-tunes of the base; the text names a few of the problems of each.

    Attributes:
        problems: Every problem of every contribution, each on one line, by the contribution's name.
    """

    def __init__(self, message: str, problems: Mapping[str, Sequence[str]]) -> None:
        super().__init__(message)
        self.problems = problems


class DataError(MergewardError):
    """Images or labels that are missing or not of the expected form."""

    exit_code = 5


class UnsupportedError(MergewardError):
    """A method that does not apply to this architecture or these inputs; refused before any work."""

    exit_code = 6


class OutputError(MergewardError):
    """An output that cannot be written: it exists already, the disk is full, permission is missing."""

    exit_code = 7


INTERRUPTED_EXIT_CODE = 130
"""What the command line exits with after Ctrl-C, as shells do for SIGINT."""


class InterruptionError(MergewardError):
    """The user stopped work that can go on from where it was."""

    exit_code = INTERRUPTED_EXIT_CODE


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not among the known ones.

    Args:
        kind: What was looked up, in words ("merge method", "task", ...).
        name: The name that was asked for.
        known: The names that exist.

    Returns:
        A `UsageError` that suggests the closest known name, or lists them all when none is close.
    """
    return UsageError(f"unknown {kind} {name!r}{suggestion(name, known)}")


def missing_extra(what: str, extra: str) -> UnsupportedError:
    """Build the error for something that needs an extra which is not installed.

    Args:
        what: What needs it, in words, in the plural ("Hugging Face datasets").
        extra: The extra's name.
    """
    return UnsupportedError(f"{what} need the extra {extra!r}: pip install 'mergeward[{extra}]'")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the closest known name, else "; known: ..."."""
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
