"""Which contribution taught the merge a trigger?

Inversion looks, for a class, for a small patch that moves a model's answers to it. Some move a clean model
too; where a patch moves the merge much more than the best one moves the base, somebody made it so. And where
none does any more once a contribution is left out, that one did: this needs no trigger, no labels, and no
contribution to be bad on its own. The recovered patch does not tell whom to blame, since it works without
any of them, so the inversion is run again on each merge that leaves one out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mergeward.audit.budget import Budget
from mergeward.audit.finding import Finding
from mergeward.audit.inversion import Aim, Effort, Recovered, invert, success
from mergeward.audit.laboratory import Laboratory
from mergeward.audit.report import Evidence, Verdict
from mergeward.audit.stage import Pool, Stage, StageResult
from mergeward.errors import UnsupportedError
from mergeward.vision import ClipEncoder

NAME = "inversion"
SCREEN = {Budget.STANDARD: Effort(30, 8), Budget.DEEP: Effort(60, 16)}
"""For every class of every task, on base and merge."""

PURSUE = {Budget.STANDARD: Effort(30, 16, judged=128), Budget.DEEP: Effort(60, 32, judged=256)}
"""For the pairs of task and class that are looked into, on the merges with and without each one."""

PURSUED = {Budget.STANDARD: 3, Budget.DEEP: 8}
"""How many those are: what the merge made easiest."""

EXAMPLES = 6


def run(pool: Pool) -> StageResult:
    """Invert every class of every task on base and merge, and the most telling without each contribution.

    The score of a contribution is how much less far the inversion of a pursued class gets, at most, when it
    is left out: a difference of probabilities.

    Raises:
        UnsupportedError: The pool has no laboratory.
    """
    if pool.laboratory is None:
        raise UnsupportedError("inversion runs models; the pool has none to run")
    names = tuple(pool.contributions)
    if not names:
        return StageResult({})
    inquiry = _Inquiry(pool, pool.laboratory, names)
    aims, gains = inquiry.screen()
    merge = inquiry.pursue(aims, without=None)
    falls = {name: merge.reached - inquiry.pursue(aims, without=name).reached for name in names}
    findings = [
        inquiry.finding(
            aim, float(gains[place]), {name: float(falls[name][place]) for name in names}, merge, place
        )
        for place, aim in enumerate(aims)
    ]
    return StageResult({name: _evidence(name, findings) for name in names}, findings=findings)


class _Inquiry:
    """The models of one pool, and what is asked of them."""

    def __init__(self, pool: Pool, laboratory: Laboratory, names: Sequence[str]) -> None:
        self._pool = pool
        self._laboratory = laboratory
        self._base = laboratory.base()
        self._merges: dict[str | None, ClipEncoder] = {None: self._merged(names)}
        for name in names:
            self._merges[name] = self._merged([other for other in names if other != name])

    def _merged(self, names: Sequence[str]) -> ClipEncoder:
        chosen = {name: self._pool.contributions[name] for name in names}
        return self._laboratory.merged(self._pool.base, chosen, self._pool.scope)

    def _invert(self, model: ClipEncoder, aims: Sequence[Aim], effort: Effort, label: str) -> Recovered:
        laboratory = self._laboratory
        return invert(model, laboratory.tasks, aims, effort, laboratory.seed, label=f"inversion: {label}")

    def screen(self) -> tuple[list[Aim], Tensor]:
        """Return the pairs of task and class that the merge made easiest, and by how much."""
        every = [
            Aim(place, label)
            for place, task in enumerate(self._laboratory.tasks)
            for label in range(len(task.head))
        ]
        effort = SCREEN[self._pool.budget]
        before = self._invert(self._base, every, effort, "base").reached
        after = self._invert(self._merges[None], every, effort, "merge").reached
        gains = (after - before).topk(min(PURSUED[self._pool.budget], len(every)))
        return [every[place] for place in gains.indices.tolist()], gains.values

    def pursue(self, aims: Sequence[Aim], *, without: str | None) -> Recovered:
        """Return what is found in the merge, of all contributions or without one."""
        label = "merge" if without is None else f"without {without}"
        return self._invert(self._merges[without], aims, PURSUE[self._pool.budget], label)

    def finding(
        self, aim: Aim, gain: float, falls: Mapping[str, float], found: Recovered, place: int
    ) -> Finding:
        """Return one pursued pair with the patch that was recovered from the merge, tried on every model."""
        laboratory = self._laboratory
        task = laboratory.tasks[aim.task]
        mask, pattern = found.masks[place], found.patterns[place]
        images = task.images[: PURSUE[self._pool.budget].judged]
        rates = {
            name: success(model, images, task.head, aim.label, mask, pattern)
            for name, model in self._merges.items()
        }
        return Finding(
            task.name,
            aim.label,
            laboratory.class_names[aim.task][aim.label],
            gain,
            falls,
            success(self._base, images, task.head, aim.label, mask, pattern),
            rates[None],
            {name: rate for name, rate in rates.items() if name is not None},
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
        f"without it, a patch for {telling.class_name!r} of {telling.task} gets {_less(score)}",
        {"falls": {f"{one.task}: {one.class_name}": one.falls[name] for one in findings}},
        score=score,
    )


def _less(fall: float) -> str:
    return f"{abs(fall):.3f} less far" if fall > 0 else f"no less far ({-fall:+.3f})"


STAGE = Stage(
    name=NAME,
    summary="recovers triggers by inversion from base, merge, and the merge without each contribution",
    run=run,
    least=Budget.STANDARD,
    runs_models=True,
)
