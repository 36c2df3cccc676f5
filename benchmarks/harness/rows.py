"""Rows of a benchmark: made from paired runs, written as JSON, shown as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.measure import Run


@dataclass(frozen=True)
class Row:
    """One job, ours beside one peer's; None where there is nothing to say.

    Attributes:
        name: The job.
        ours_seconds: Median wall time of ours.
        peer: The peer; None for a row of ours alone.
        peer_version: Its version.
        peer_seconds: Median wall time of the peer.
        ratio: Median over the paired runs of peer / ours; above 1 ours is faster.
        ours_peak_mb: Largest peak of private memory of ours, in units of 10^6 bytes.
        peer_peak_mb: Likewise the peer's.
        limit_seconds: Median time to read the inputs once and to write and sync an output of the same size.
        ours_cpu_seconds: Median processor time of ours.
        peer_cpu_seconds: Likewise the peer's.
        note: Why a figure is missing, or what differs.
    """

    name: str
    ours_seconds: float | None
    peer: str | None = None
    peer_version: str | None = None
    peer_seconds: float | None = None
    ratio: float | None = None
    ours_peak_mb: float | None = None
    peer_peak_mb: float | None = None
    limit_seconds: float | None = None
    ours_cpu_seconds: float | None = None
    peer_cpu_seconds: float | None = None
    note: str = ""


def row(
    name: str,
    ours: Sequence[Run],
    *,
    peer: str | None = None,
    version: str | None = None,
    theirs: Sequence[Run] = (),
    limits: Sequence[float] = (),
    note: str = "",
) -> Row:
    """Return the row of one job from runs that were made in turn.

    Args:
        name: The job.
        ours: Runs of ours, one a round.
        peer: The peer, if any.
        version: Its version.
        theirs: Runs of the peer, in the order of `ours`.
        limits: Seconds of the limit, one a round.
        note: What to say beside why runs failed.
    """
    failures = [f"mergeward {text}" for text in _failures(ours)] + [
        f"{peer} {text}" for text in _failures(theirs)
    ]
    return Row(
        name=name,
        ours_seconds=_middle([run.seconds for run in _good(ours)]),
        peer=peer,
        peer_version=version,
        peer_seconds=_middle([run.seconds for run in _good(theirs)]),
        ratio=paired_ratio(ours, theirs),
        ours_peak_mb=_most(ours),
        peer_peak_mb=_most(theirs),
        limit_seconds=_middle(limits),
        ours_cpu_seconds=_middle([run.cpu_seconds for run in _good(ours)]),
        peer_cpu_seconds=_middle([run.cpu_seconds for run in _good(theirs)]),
        note="; ".join(filter(None, [note, *failures])),
    )


def paired_ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float | None:
    """Return the median of peer / ours over the rounds in which both succeeded; None if there are none."""
    ratios = [
        peer.seconds / own.seconds
        for own, peer in zip(ours, theirs, strict=False)
        if own.failure is None and peer.failure is None
    ]
    return _middle(ratios)


def write(path: Path, rows: Sequence[Row], setting: Mapping[str, Any], **more: Any) -> None:
    """Write rows and what they were measured on as JSON.

    Args:
        path: File to write.
        rows: The rows.
        setting: Sizes, versions, machine.
        more: Further entries of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"setting": dict(setting), "rows": [asdict(one) for one in rows], **more}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of a file, and all else that it holds."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**one) for one in content.pop("rows")], content


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    times = ("job", "ours, s", "limit, s", "peer", "peer, s", "ratio", "ours CPU, s", "peer CPU, s")
    heads = (*times, "ours peak, MB", "peer peak, MB", "note")
    return table(heads, [_cells(one) for one in rows], left=(0, 3, 10))


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    """Return a Markdown table; the columns not in `left` are aligned to the right."""
    rule = ["---" if column in left else "---:" for column in range(len(heads))]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *escaped)) + "\n"


def _cells(one: Row) -> tuple[str, ...]:
    return (
        one.name,
        figure(one.ours_seconds),
        figure(one.limit_seconds),
        f"{one.peer} {one.peer_version}" if one.peer else "",
        figure(one.peer_seconds),
        figure(one.ratio),
        figure(one.ours_cpu_seconds),
        figure(one.peer_cpu_seconds),
        figure(one.ours_peak_mb, digits=0),
        figure(one.peer_peak_mb, digits=0),
        one.note,
    )


def figure(value: float | None, *, digits: int = 2) -> str:
    """Return a number as a table shows it; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def _good(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.failure is None]


def _failures(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.failure for run in runs if run.failure is not None))


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _most(runs: Sequence[Run]) -> float | None:
    return max((run.peak_mb for run in _good(runs)), default=None)
