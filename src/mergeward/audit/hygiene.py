"""Are the files whole, do they hold finite numbers, and what do they say of themselves?"""

from __future__ import annotations

from dataclasses import replace

from mergeward.audit.report import Evidence, Failure, Verdict
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.checkpoint import Adapter, Checkpoint, carries_mark
from mergeward.errors import CheckpointError
from mergeward.progress import track
from mergeward.provenance import METADATA_KEY, Provenance

NAME = "hygiene"


def run(pool: Pool) -> StageResult:
    """Read every tensor of every model and its provenance record.

    Raises:
        CheckpointError: The base itself is damaged; nothing can be compared with it.
    """
    base = _not_judged(examine(pool.base))
    evidence, failures = {}, {}
    for name in track(tuple(pool.contributions), "reading contributions"):
        try:
            evidence[name] = examine(pool.contributions[name])
        except CheckpointError as error:
            failures[name] = Failure(NAME, str(error))
    return StageResult(evidence, failures, base=base)


def examine(checkpoint: Checkpoint | Adapter) -> Evidence:
    """Return what the file itself tells.

    Args:
        checkpoint: An open model, or an adapter as the model it makes of the base.

    Returns:
        "suspect" if its provenance record says that it carries a backdoor. "pass" otherwise, which is about
        the file only: a record is a mark, and leaving it out costs an attacker nothing.

    Raises:
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.
    """
    for name in checkpoint.tensors:
        checkpoint.read(name)
    record = Provenance.from_metadata(checkpoint.metadata)
    figures = {
        "sha256": checkpoint.sha256(),
        "tensors": len(checkpoint.tensors),
        "values": sum(info.numel for info in checkpoint.tensors.values()),
        "provenance": None if record is None else record.model_dump(mode="json"),
    }
    if carries_mark(checkpoint):
        return Evidence(NAME, Verdict.SUSPECT, _admission(record), figures)
    return Evidence(NAME, Verdict.PASS, f"file whole, values finite; {_origin(checkpoint, record)}", figures)


def _not_judged(evidence: Evidence) -> Evidence:
    """Return evidence about the base, of which a whole file says all that is looked at."""
    if evidence.verdict is not Verdict.PASS:
        return evidence
    summary = f"{evidence.summary}; what the base does is not judged"
    return replace(evidence, verdict=Verdict.NOT_JUDGED, summary=summary)


def _admission(record: Provenance | None) -> str:
    if record is None or not record.backdoor:
        return "the card beside it, or a record that cannot be read, says that it carries a backdoor"
    if record.kind in {"merge", "hardened"}:
        return f"its record says that it was made from a backdoored model ({record.method})"
    return f"its record says that it was given a backdoor ({record.method})"


def _origin(checkpoint: Checkpoint | Adapter, record: Provenance | None) -> str:
    if record is not None:
        return f"its record says: {record.kind}, {record.method}"
    return "malformed provenance record" if METADATA_KEY in checkpoint.metadata else "no provenance record"


STAGE = Stage(
    name=NAME,
    summary="opens every file, reads every tensor, and reads what the file says of its origin",
    run=run,
)
