"""How names and numbers are written, the same in terminals, Markdown and pages."""

from __future__ import annotations

from collections.abc import Sequence

NO_ATTACK = "none"
"""The `attack` of rows whose contributions are all clean."""

ABSENT = "–"
"""Stands where a column has no meaning for a row."""

_SPELLINGS = {
    NO_ATTACK: "none (all clean)",
    "adamerging": "AdaMerging",
    "adamerging++": "AdaMerging++",
    "adamerging-layer": "AdaMerging, layer-wise",
    "adamerging-task": "AdaMerging, task-wise",
    "anp": "ANP",
    "awm": "AWM",
    "badmerging-adaptive": "adaptive BadMerging",
    "badmerging-off": "BadMerging off-task",
    "badmerging-off-own": "BadMerging off-task, own images too",
    "badmerging-on": "BadMerging on-task",
    "badnets": "BadNets",
    "badtv": "BadTV",
    "badvit": "BadViT",
    "blended": "Blended",
    "concrete_adamerging": "Concrete AdaMerging",
    "concrete_adamerging-layer": "Concrete AdaMerging, layer-wise",
    "concrete_adamerging-task": "Concrete AdaMerging, task-wise",
    "concrete_task_arithmetic": "Concrete Task Arithmetic",
    "dam": "DAM",
    "dam-task": "DAM, task-wise",
    "dare": "DARE",
    "dynamic": "input-aware dynamic",
    "fisher": "Fisher",
    "label_consistent": "label-consistent",
    "lobam": "LoBAM",
    "mergebackdoor": "MergeBackdoor",
    "regmean": "RegMean",
    "sau": "SAU",
    "sig": "SIG",
    "surgery": "Surgery",
    "ties": "TIES",
    "trojannn": "TrojanNN",
    "trojvit": "TrojViT",
    "wag": "WAG",
    "wanet": "WaNet",
}


def label(name: str) -> str:
    """Return a method's or an attack's name as prose spells it: `ties` is TIES."""
    return _SPELLINGS.get(name, name.replace("_", " "))


def percent(rate: float) -> str:
    """Return a rate in percent with one decimal and no sign: 0.9104 is `91.0`."""
    return f"{100 * rate:.1f}"


def whole_percent(rate: float) -> str:
    """Return a rate as running text gives it: 0.9104 is `91 %`, with a space that does not break.

    What is not quite none or all is not rounded to it: 0.9966 is `99.7 %`.
    """
    rounded = f"{100 * rate:.0f}"
    nearly = rounded in {"0", "100"} and rate not in {0.0, 1.0}
    return f"{percent(rate) if nearly else rounded}\N{NO-BREAK SPACE}%"


def shortened(name: str, most: int = 20) -> str:
    """Return a name of at most so many characters: its start and its end.

    Example:
        >>> shortened("badmerging-on-eurosat-seed2")
        'badmergin…osat-seed2'
    """
    if len(name) <= most:
        return name
    start = (most - 1) // 2
    return f"{name[:start]}…{name[start + 1 - most :]}"


def points(difference: float) -> str:
    """Return a difference of rates in percentage points, signed: -0.012 is `−1.2`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def enumeration(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
