"""The merged model on the engine of the adaptive merges, and what can be said of it without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from mergeward.compute import fixed_threads
from mergeward.defense.problem import HardenProblem
from mergeward.errors import UnsupportedError
from mergeward.merge.adaptive import AdaptiveProblem
from mergeward.merge.adaptive.balance import Balance, balance_of
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

    def session(self) -> dict[str, Any]:
        """Return them as parameters of a session on the merged model."""
        shared = self.model_dump(include={"batch_size", "precision"})
        return {"initial_coefficient": 1.0, **shared}


def as_merge(problem: HardenProblem, base: Mapping[str, Tensor] | None = None) -> AdaptiveProblem:
    """Return the merged model as a merge of one contribution, itself, to be taken with coefficient 1.

    Args:
        problem: The merged encoder, the base and the images.
        base: What the model is taken to differ from; by default the base.
    """
    merged = problem.merged()
    return AdaptiveProblem(
        encoder=problem.encoder,
        base={name: (base or problem.base)[name] for name in merged},
        contributions=[merged],
        names=["merged"],
        tasks=problem.tasks,
        seed=problem.seed,
        device=problem.device,
        store=problem.store,
    )


def open_session(
    problem: AdaptiveProblem, parameters: LearningParameters, dtype: torch.dtype = torch.float32
) -> Session:
    """Open a session on the merged model, for what does not learn a mask on its change.

    Args:
        problem: What `as_merge` gives.
        parameters: Batch size and precision.
        dtype: Type of the arithmetic; float64 serves gradient checks.
    """
    return Session(problem, SessionParameters(**parameters.session()), lr=0.0, dtype=dtype)


def balance(problem: HardenProblem, state: Mapping[str, Tensor]) -> dict[str, Balance]:
    """Return how the predictions of the encoder with other weights spread over the classes of each task.

    Args:
        problem: The encoder and the images.
        state: The weights.

    Returns:
        What `merge.adaptive.balance.class_balance` describes, by task.
    """

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = functional_call(problem.encoder, dict(state), (pixels,))
        return features

    with fixed_threads():
        return balance_of(encode, problem.tasks, problem.seed)


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
