"""Fortify as a defense: the merged model, however it was merged, loses what small triggers do to it."""

from __future__ import annotations

from pydantic import Field

from mergeward.compute import fixed_threads
from mergeward.defense.problem import DefenseInfo, Hardened, HardenProblem
from mergeward.defense.session import as_merge, refuse_running_state
from mergeward.merge.adaptive.fortify import Fortifying, FortifyParameters


class FortifiedModelParameters(FortifyParameters):
    """Parameters of the defense: where it starts, and how the model is fortified."""

    initial_share: float = Field(
        default=1 / 3,
        ge=0,
        le=1,
        description="share of the merged model's difference from the base that it starts with; less brings "
        "less of a backdoor along",
    )


def run(problem: HardenProblem, parameters: FortifiedModelParameters) -> Hardened:
    """Move the weights until triggers no longer move the features; see `merge.adaptive.fortify`.

    They start between the base and the merged model, and images are to have the features that the merged
    model itself gives to clean ones.

    Args:
        problem: The merged encoder, the base and unlabelled images.
        parameters: See `FortifiedModelParameters`.

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
        session = fortifying.session
        session.engine.merge(parameters.initial_share * session.coefficients.by_tensor())
        loss = fortifying.learn(parameters)
        weights = session.engine.weights()
    return Hardened(weights, {"loss": loss, "success": fortifying.pool.success()})


INFO = DefenseInfo(
    name="fortify",
    summary="moves the weights until small triggers move the features less",
    paper="mergeward; after Madry et al., ICLR 2018, arXiv 1706.06083",
    run=run,
    parameters=FortifiedModelParameters,
    any_device=True,
)
