"""AdaMerging: coefficients learnt by minimising the entropy of predictions on unlabelled images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.merged_encoder import Blocks
from mergeward.merge.adaptive.objectives import image_entropy
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.adaptive.session import LearntCoefficients, Session
from mergeward.merge.adaptive.ties_vectors import with_ties_vectors
from mergeward.merge.method import MethodInfo


class AdaMergingParameters(LearntCoefficients):
    """Parameters of AdaMerging; the defaults are those of the paper and its code, but for half the images."""

    steps: int = Field(default=500, ge=0, description="Adam steps (AdaMerging: 500)")
    lr: float = Field(default=1e-3, ge=0, description="Adam step size (AdaMerging: 1e-3)")
    vectors: Literal["plain", "ties"] = Field(
        default="plain",
        description="`plain`, or `ties` for AdaMerging++: what is left after TIES has trimmed them and "
        "elected signs",
    )
    density: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="with `ties`, the share of each task vector, largest magnitudes first, that is kept "
        "(AdaMerging: 0.2)",
    )

    @model_validator(mode="after")
    def _check_density(self) -> AdaMergingParameters:
        if self.vectors == "plain" and "density" in self.model_fields_set:
            raise ValueError("density: has no effect with `vectors: plain`; `ties` trims the task vectors")
        return self


def run(problem: AdaptiveProblem, parameters: AdaMergingParameters) -> AdaptiveResult:
    """Merge by AdaMerging or AdaMerging++ (arXiv:2310.02575), layer-wise by default.

    theta = theta_0 + sum_t lambda[t, l] tau_t, and lambda minimises the sum over tasks of the mean entropy of
    the predictions for a batch of adapt images. Adam with the defaults of PyTorch; after each step lambda is
    projected onto [0, 1], where the paper's code clamps in the forward pass (and so loses the gradient of a
    value that has left the interval).

    Args:
        problem: Base, contributions, and the tasks' unlabelled images and heads.
        parameters: Steps, step size, task vectors, batch size, granularity, precision.

    Returns:
        Merged weights and a record with `coefficients`, `loss` (one number a step) and `balance` (`start` and
        `end`; see `balance.class_balance`).

    Raises:
        MergewardError: The loss is no longer finite.
    """
    with fixed_threads():
        if parameters.vectors == "ties":
            problem = with_ties_vectors(problem, parameters.density)
        session = Session(problem, parameters, lr=parameters.lr, granularity=parameters.granularity)
        start = session.learning.remember("start", session.balance)
        loss = fit_coefficients(session, parameters.steps, label="adamerging")
        return session.result({"loss": loss, "balance": {"start": start, "end": session.balance()}})


def fit_coefficients(
    session: Session, steps: int, *, label: str, mask: Tensor | Blocks | None = None, first_batch: int = 0
) -> list[float]:
    """Learn the coefficients under a fixed mask, and leave the session merged with them.

    Args:
        session: What to learn on; its coefficients go on from where they are.
        steps: Number of Adam steps.
        label: Name of the stage, shown as progress and in errors.
        mask: What `Session.merge` takes, or None for ones.
        first_batch: Index of the first batch; the following steps use the following ones.

    Returns:
        The loss at each step.
    """
    learning = session.learning
    for step in learning.steps(label, steps, paced=[session.coefficients.optimizer]):
        session.merge(mask)
        loss, _ = session.gradient(session.batches[first_batch + step], image_entropy)
        learning.record({label: loss})
        session.step_along()
    session.merge(mask)
    return learning.losses.get(label, [])


INFO = MethodInfo(
    name="adamerging",
    summary="learns a coefficient per layer and task vector: least entropy on unlabelled images",
    paper='Yang et al., "AdaMerging", ICLR 2024, arXiv:2310.02575',
    kind="adaptive",
    run=run,
    parameters=AdaMergingParameters,
    needs_images=True,
    any_device=True,
)
