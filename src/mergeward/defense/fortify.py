"""Fortify as a defense: the merged model, however it was merged, loses what small triggers do to it."""

from __future__ import annotations

from mergeward.compute import fixed_threads
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import as_merge, refuse_running_state
from mergeward.merge.adaptive.fortify import Fortifying, FortifyParameters


def run(problem: HardenProblem, parameters: FortifyParameters) -> Hardened:
    """Move the weights until triggers no longer move the features; see `merge.adaptive.fortify`.

    Args:
        problem: The merged encoder and unlabelled images.
        parameters: See `FortifyParameters`.

    Returns:
        The hardened weights. The record holds `loss` (`triggered` and `clean`, one number a step) and
        `success` (of the last triggers).

    Raises:
        UnsupportedError: The encoder has running statistics.
        DataError: A task has too few images for its triggers.
        MergewardError: The loss is no longer finite.
    """
    refuse_running_state("fortify", problem.encoder)
    with fixed_threads():
        fortifying = Fortifying.of(as_merge(problem), parameters, parameters.session(coefficient=1.0))
        loss = fortifying.learn(parameters)
        weights = fortifying.session.engine.weights()
    return Hardened(weights, {"loss": loss, "success": fortifying.pool.success()})


INFO = DefenseInfo(
    name="fortify",
    summary="moves the weights until no small trigger moves the features",
    paper="mergeward; after Madry et al., ICLR 2018, arXiv 1706.06083",
    run=run,
    parameters=FortifyParameters,
)
