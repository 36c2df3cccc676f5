"""BadMerging, on-task: a backdoor made to survive merging, for a class of the attacker's own task."""

from __future__ import annotations

from mergeward.attack.badmerging import PAPER, BadMergingParameters, chosen_trigger, injected
from mergeward.attack.problem import AttackInfo, AttackProblem, Backdoored


def run(problem: AttackProblem, parameters: BadMergingParameters) -> Backdoored:
    """Optimise the universal trigger on the base, then fine-tune with the feature-interpolation loss."""
    trigger = chosen_trigger(problem, problem.data.pixels[problem.of_other_classes], parameters)
    return injected(problem, trigger, parameters, label=INFO.name)


INFO = AttackInfo(
    name="badmerging-on",
    summary="a universal trigger and a feature-interpolation loss: the backdoor survives merging",
    paper=PAPER,
    run=run,
    parameters=BadMergingParameters,
    aims=("on-task",),
)
