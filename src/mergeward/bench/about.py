"""What a run is of, as its file says it: whether another is of the same, and in what it differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

SHORT = 60
"""Longest value, in characters, that a difference is told with."""


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is of as it reads after being written as JSON."""
    values: dict[str, Any] = json.loads(json.dumps(dict(about)))
    return values


def difference(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Say what one run is of and another is not.

    Args:
        found: What a file is of.
        about: Something else.
    """
    key = next(key for key in {**found, **about} if found.get(key) != about.get(key))
    before, now = found.get(key) or {}, about.get(key) or {}
    if key == "images":
        return f"other images of {', '.join(spec for spec in now if before.get(spec) != now[spec])}"
    if key == "suite":
        return f"another suite: {', '.join(_fields(before, now))}"
    return f"another {key}"


def _fields(found: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    """Name the fields in which two suites differ, with their values where these are short."""
    for name in {**found, **about}:
        before, now = (json.dumps(suite.get(name)) for suite in (found, about))
        if before != now:
            yield (
                f"{name} {before} there, {now} here"
                if max(map(len, (before, now))) <= SHORT
                else f"other {name}"
            )
