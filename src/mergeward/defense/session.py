"""The merged model on the engine of the adaptive merges, and what can be said of it without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from mergeward.compute import fixed_threads
from mergeward.defense.problem import HardenProblem
from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive import AdaptiveProblem
from mergeward.merge.adaptive.merged_encoder import Precision
from mergeward.merge.adaptive.session import Session, SessionParameters
from mergeward.merge.method import Parameters


class LearningParameters(Parameters):
    """What every defense that learns from the adapt images can be told."""

    steps: int = Field(default=2000, ge=0, description="steps (DAM's code and ANP: 2000)")
    batch_size: int = Field(default=16, ge=1, description="adapt images a task and batch (DAM's code: 16)")
    precision: Precision = Field(
        default="float32",
        description="arithmetic of the encoder while learning; `bfloat16` runs it under autocast",
    )


def open_session(
    problem: HardenProblem,
    parameters: LearningParameters | None = None,
    *,
    base: Mapping[str, Tensor] | None = None,
    states: Sequence[Mapping[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Session:
    """Open a session on models that are merged already: each is a contribution with coefficient 1.

    Args:
        problem: The merged encoder, the base and the images.
        parameters: Batch size and precision.
        base: What the models are taken to differ from; by default the base.
        states: The models' tensors; by default those of the merged encoder alone.
        dtype: Type of the arithmetic; float64 serves gradient checks.
    """
    parameters = parameters or LearningParameters()
    states = states or [problem.merged()]
    return Session(
        AdaptiveProblem(
            encoder=problem.encoder,
            base={name: (base or problem.base)[name] for name, _ in problem.encoder.named_parameters()},
            contributions=states,
            names=[f"model {index + 1}" for index in range(len(states))],
            tasks=problem.tasks,
            seed=problem.seed,
        ),
        SessionParameters(
            granularity="task",
            initial_coefficient=1.0,
            batch_size=parameters.batch_size,
            precision=parameters.precision,
        ),
        lr=0.0,
        dtype=dtype,
    )


def balance(
    problem: HardenProblem, state: Mapping[str, Tensor]
) -> dict[str, dict[str, dict[str, float | int]]]:
    """Return how predictions spread over the classes of each task before and after a defense.

    Args:
        problem: The merged encoder, the base and the images.
        state: The hardened tensors.

    Returns:
        `start` and `end`, each as `merge.adaptive.balance.class_balance` has it, by task.
    """
    with fixed_threads():
        session = open_session(problem, states=[problem.merged(), state])
        tensors = len(session.engine.layout.names)
        found = {}
        for moment, coefficients in {"start": (1.0, 0.0), "end": (0.0, 1.0)}.items():
            session.engine.merge(torch.tensor(coefficients).unsqueeze(1).expand(-1, tensors))
            found[moment] = session.balance()
    return found


def change_left(problem: HardenProblem, state: Mapping[str, Tensor]) -> float:
    """Return the length of a hardened model's change from the base, over that of the merged model's.

    It is 0 where the merged model is the base.
    """
    merged = problem.merged()
    before, after = (
        sum(float((model[name] - problem.base[name]).double().square().sum()) for name in merged)
        for model in (merged, state)
    )
    return (after / before) ** 0.5 if before else 0.0


def refuse_running_state(defense: str, encoder: nn.Module) -> None:
    """Refuse encoders whose output depends on saved numbers that are no weights.

    A defense that changes weights would leave them behind: the running statistics of batch normalisation are
    those of the merged model and not of the hardened one.

    Raises:
        UnsupportedError: The encoder has such numbers.
    """
    weights = dict(encoder.named_parameters())
    saved = encoder.state_dict()
    for name, value in saved.items():
        if name not in weights and value.is_floating_point():
            raise UnsupportedError(
                f"{defense}: {type(encoder).__name__} has running statistics ({name!r}), which would not be "
                "those of the hardened weights"
            )
