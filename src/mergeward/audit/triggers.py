"""Which contribution taught the merge a trigger?

Inversion looks, for every class of every task, for a small patch that moves the merge's answers to it and not
the base's. What a contribution taught stops working where that contribution is left out: the patch is tried
on each merge that leaves one out, and whoever's absence takes most from it is most likely the one. This needs
no trigger, no labels, and no contribution to be bad on its own; an off-task attack shows under the head of
the task that it attacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mergeward.audit.budget import Budget
from mergeward.audit.finding import Finding
from mergeward.audit.inversion import (
    Aim,
    Effort,
    Recovered,
    held_out,
    invert,
    pasted,
    probabilities,
    unit,
)
from mergeward.audit.laboratory import Laboratory
from mergeward.audit.report import Evidence, Failure, Verdict
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.errors import DataError, UnsupportedError
from mergeward.vision import ClipEncoder

NAME = "inversion"
SCREEN = {Budget.STANDARD: Effort(15, 4, judged=24), Budget.DEEP: Effort(30, 16, judged=48)}
"""For every class of every task."""

PURSUE = {Budget.STANDARD: Effort(30, 16, judged=96), Budget.DEEP: Effort(60, 32, judged=256)}
"""For the pairs of task and class that are looked into."""

PURSUED = {Budget.STANDARD: 6, Budget.DEEP: 16}
"""How many those are: where the merge is furthest from the base."""

EXAMPLES = 6
OWN_METHOD = f"{NAME} of merges by the recipe's own method"
"""What a stand-in leaves unexamined, as the report has it."""

ON_FORTIFIED = f"{NAME} on the fortified merge"
NOT_FINITE = "the merge gives features that are not finite"


def run(pool: Pool) -> StageResult:
    """Invert every class of every task, and try what is found on the merges that leave one out.

    The score of a contribution is how much less probable its absence makes the class, at most, over what was
    found.

    A contribution whose merge with the base does not compute has failed, and the others are compared without
    it.

    Raises:
        UnsupportedError: The pool has no laboratory.
    """
    if pool.laboratory is None:
        raise UnsupportedError("inversion runs models; the pool has none to run")
    merge, failures = _sound(pool, pool.laboratory)
    if merge is None:
        return StageResult({}, failures)
    names = tuple(name for name in pool.contributions if name not in failures)
    inquiry = _Inquiry(pool, pool.laboratory, names, merge)
    failures |= {name: Failure(NAME, f"without it {NOT_FINITE}") for name in inquiry.incomparable}
    aims = inquiry.screen()
    found = inquiry.invert(aims, PURSUE[pool.budget], "looking into classes")
    findings = [
        inquiry.finding(aim, found.masks[place], found.patterns[place]) for place, aim in enumerate(aims)
    ]
    findings.sort(key=lambda one: max(one.falls.values(), default=one.gain), reverse=True)
    evidence = {name: _evidence(name, findings) for name in names if name not in failures}
    return StageResult(evidence, failures, findings=findings, not_examined=inquiry.not_examined)


def _sound(pool: Pool, laboratory: Laboratory) -> tuple[ClipEncoder | None, dict[str, Failure]]:
    """Return the merge of all that a merge computes with, and those with which it does not.

    These are contributions with which it does not alone, or beside the others. Finite weights can be so large
    that features are not: with one such contribution in the merge every figure about every other one would be
    worthless. The merge is None where none are left.
    """
    found = {}
    for name in pool.contributions:
        try:
            if _finite_merge(pool, laboratory, [name], size=1) is None:
                found[name] = Failure(NAME, f"with it alone {NOT_FINITE}")
        except UnsupportedError as error:
            found[name] = Failure(NAME, str(error))
    while left := [name for name in pool.contributions if name not in found]:
        size = len(left)
        merge = _finite_merge(pool, laboratory, left, size=size)
        if merge is not None:
            return merge, found
        fewer = {name: _finite_merge(pool, laboratory, _but(left, name), size=size) for name in left}
        blamed = [name for name, one in fewer.items() if one is not None]
        found |= {name: Failure(NAME, f"beside the others {NOT_FINITE}") for name in blamed or left}
    return None, found


def _but(names: Sequence[str], one: str) -> list[str]:
    return [name for name in names if name != one]


def _finite_merge(
    pool: Pool, laboratory: Laboratory, names: Sequence[str], *, size: int
) -> ClipEncoder | None:
    """Return the merge of some contributions of so many, or None where its features are not finite."""
    chosen = {name: pool.contributions[name] for name in names}
    merge = laboratory.merged(pool.base, chosen, pool.scope, size=size)
    is_finite = bool(merge(unit(laboratory.tasks[0].images[:EXAMPLES])).isfinite().all())
    return merge if is_finite else None


class _Inquiry:
    """The models of one pool, and what is asked of them."""

    def __init__(self, pool: Pool, laboratory: Laboratory, names: Sequence[str], merge: ClipEncoder) -> None:
        self._pool = pool
        self._laboratory = laboratory
        self._base = laboratory.base()
        self._merge = merge
        size = len(names)
        left_out = {name: _finite_merge(pool, laboratory, _but(names, name), size=size) for name in names}
        self._without = {name: one for name, one in left_out.items() if one is not None}
        self.incomparable = left_out.keys() - self._without.keys()
        stand_in = laboratory.stand_in(size)
        self.not_examined = {} if stand_in is None else {OWN_METHOD: stand_in}
        self._fortified = self._fortify(names) if pool.budget.covers(Budget.DEEP) else None

    def _fortify(self, names: Sequence[str]) -> ClipEncoder | None:
        """Return the fortified merge, or None, and why it was not examined."""
        chosen = {name: self._pool.contributions[name] for name in names}
        try:
            return self._laboratory.fortified(self._pool.base, chosen)
        except (UnsupportedError, DataError) as error:
            self.not_examined[ON_FORTIFIED] = str(error)
            return None

    def invert(self, aims: Sequence[Aim], effort: Effort, label: str) -> Recovered:
        """Return what is found in the merge and not in the base."""
        where = self._laboratory
        return invert(self._merge, self._base, where.tasks, aims, effort, seed=where.seed, label=label)

    def screen(self) -> list[Aim]:
        """Return the pairs of task and class at which the merge is furthest from the base."""
        every = [
            Aim(place, label)
            for place, task in enumerate(self._laboratory.tasks)
            for label in range(len(task.head))
        ]
        gains = self.invert(every, SCREEN[self._pool.budget], "screening classes").gains
        furthest = gains.topk(min(PURSUED[self._pool.budget], len(every)))
        return [every[place] for place in furthest.indices.tolist()]

    def finding(self, aim: Aim, mask: Tensor, pattern: Tensor) -> Finding:
        """Return one pair with the patch that was recovered for it, tried on every model.

        Patches are tried on images that none of their steps used.
        """
        laboratory = self._laboratory
        task = laboratory.tasks[aim.task]
        images = held_out(task, aim.label, PURSUE[self._pool.budget], laboratory.seed)
        others = probabilities(self._base, unit(images), task.head).argmax(1) != aim.label
        patched = pasted(unit(images), mask, pattern)

        def tried(model: ClipEncoder) -> tuple[float, float | None]:
            """Return the mean probability of the class, and the share of the other images given it."""
            answers = probabilities(model, patched, task.head)
            moved = answers[others].argmax(1) == aim.label
            return float(answers[:, aim.label].mean()), float(moved.float().mean()) if len(moved) else None

        reached, success = tried(self._merge)
        before, base_success = tried(self._base)
        without = {name: tried(model) for name, model in self._without.items()}
        fortified = None if self._fortified is None else tried(self._fortified)[1]
        return Finding(
            task.name,
            aim.label,
            laboratory.class_names[aim.task][aim.label],
            reached - before,
            {name: reached - one for name, (one, _) in without.items()},
            base_success,
            success,
            {name: rate for name, (_, rate) in without.items()},
            fortified,
            mask,
            pattern,
            images[:EXAMPLES],
        )


def _evidence(name: str, findings: Sequence[Finding]) -> Evidence:
    telling = max(findings, key=lambda finding: finding.falls[name])
    score = telling.falls[name]
    return Evidence(
        NAME,
        Verdict.INCONCLUSIVE,
        f"without it, a patch for {telling.class_name!r} of {telling.task} is {_less(score)}",
        {"falls": {f"{one.task}: {one.class_name}": one.falls[name] for one in findings}},
        score=score,
    )


def _less(fall: float) -> str:
    return f"less effective by {fall:.3f}" if fall > 0 else f"no less effective ({-fall:+.3f})"


STAGE = Stage(
    name=NAME,
    summary="recovers triggers that move the merge and not the base, tries them on merges without each one",
    run=run,
    least=Budget.STANDARD,
    runs_models=True,
    compares=True,
)
