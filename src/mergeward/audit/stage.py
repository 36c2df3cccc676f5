"""What a stage of an audit is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mergeward.audit.budget import Budget
from mergeward.audit.finding import Finding
from mergeward.audit.laboratory import Laboratory
from mergeward.audit.report import Evidence, Failure
from mergeward.checkpoint import Adapter, Checkpoint


@dataclass(frozen=True)
class Pool:
    """The models under audit, open.

    Attributes:
        base: The pretrained model.
        contributions: Its fine-tunes by name, in the recipe's order; only those that no stage has failed on.
        scope: Names of the tensors that the merge would take from them.
        budget: How much may be spent.
        laboratory: What stages that run models work with; None where there is nothing to run them on.
    """

    base: Checkpoint
    contributions: Mapping[str, Checkpoint | Adapter]
    scope: Sequence[str]
    budget: Budget = Budget.QUICK
    laboratory: Laboratory | None = None


@dataclass(frozen=True)
class StageResult:
    """What a stage found.

    Attributes:
        evidence: By contribution. One that is in neither `evidence` nor `failures` was not examined.
        failures: By contribution: those the stage could not examine. Later stages leave them out.
        base: What was found about the base itself, if the stage looks at it.
        findings: What was found about the merge, for people to look at.
        not_examined: By what it could not do of its work, why.
        clears: Whether a low score speaks for a contribution. Not so where attackers score low, too.
    """

    evidence: Mapping[str, Evidence]
    failures: Mapping[str, Failure] = field(default_factory=dict)
    base: Evidence | None = None
    findings: Sequence[Finding] = ()
    not_examined: Mapping[str, str] = field(default_factory=dict)
    clears: bool = True


@dataclass(frozen=True)
class Stage:
    """One stage of an audit.

    Attributes:
        name: Short name, as reports call it.
        summary: What it examines, in one sentence without a full stop.
        run: Called with the pool.
        least: The cheapest budget that it runs in.
        runs_models: Whether it needs `Pool.laboratory`.
        compares: Whether it scores contributions against one another. Of such stages the last decides: it is
            the dearest, and knows most.
    """

    name: str
    summary: str
    run: Callable[[Pool], StageResult]
    least: Budget = Budget.QUICK
    runs_models: bool = False
    compares: bool = False
