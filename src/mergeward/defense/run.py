"""Running a defense, with what is recorded of every one."""

from __future__ import annotations

from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import balance
from mergeward.merge.adaptive.balance import collapses, refuse_broken
from mergeward.merge.method import Parameters


def run_defense(info: DefenseInfo, problem: HardenProblem, parameters: Parameters) -> Hardened:
    """Run a defense and look at what it did to the predictions.

    Args:
        info: The defense.
        problem: The merged encoder, the base and the images.
        parameters: Of the type `info.parameters`.

    Returns:
        What the defense returns, its record with `balance` added (how the predictions spread over the
        classes of each task at the `start` and at the `end`), and with `collapsed` (the tasks whose
        predictions collapsed onto few classes, in words).

    Raises:
        UsageError: Other models are missing, or not used.
        UnsupportedError: The defense does not apply to this architecture.
        MergewardError: The predictions of what it made are no numbers.
    """
    info.check_others(len(problem.others))
    hardened = info.run(problem, parameters)
    start, end = balance(problem, problem.merged()), balance(problem, hardened.state)
    refuse_broken(info.name, end)
    found = {"balance": {"start": start, "end": end}, "collapsed": collapses(start, end)}
    return Hardened(hardened.state, {**hardened.record, **found})
