"""What a stage of an audit is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mergeward.audit.report import Evidence, Failure
from mergeward.checkpoint import Adapter, Checkpoint


@dataclass(frozen=True)
class Pool:
    """The models under audit, open.

    Attributes:
        base: The pretrained model.
        contributions: Its fine-tunes by name, in the recipe's order; only those that no stage has failed on.
        scope: Names of the tensors that the merge would take from them.
    """

    base: Checkpoint
    contributions: Mapping[str, Checkpoint | Adapter]
    scope: Sequence[str]


@dataclass(frozen=True)
class StageResult:
    """What a stage found.

    Attributes:
        evidence: By contribution. One that is in neither `evidence` nor `failures` was not examined.
        failures: By contribution: those the stage could not examine. Later stages leave them out.
        scores: By contribution, the larger the more it stands out; empty where the stage does not compare.
        base: What was found about the base itself, if the stage looks at it.
    """

    evidence: Mapping[str, Evidence]
    failures: Mapping[str, Failure] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    base: Evidence | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of an audit.

    Attributes:
        name: Short name, as reports call it.
        summary: What it examines, in one sentence without a full stop.
        run: Called with the pool.
    """

    name: str
    summary: str
    run: Callable[[Pool], StageResult]
