"""Fortify: a merge whose features do not move when somebody pastes a small trigger on an image.

The merged model plays both parts. An adversary keeps a pool of triggers (`trigger_pool`) that climb towards
classes of the merged tasks; the weights move until images, triggered or clean, have the features that their
task's own contribution gives to the clean ones. So no contribution has a say in the images of another's task:
what a backdoor for somebody else's class does to them goes, and what merging cost them comes back. Nobody's
trigger, class or attacked task is known, and no label.

A backdoor comes along with the weights, what a contribution knows of its task also through its features. So
the merge starts with little of every task vector, and takes the rest from the features of the contributions,
at half of their strength: with all of it, what a contribution does wrong on clean images comes along, too.

It is adversarial training (Madry et al., arXiv 1706.06083) with universal patches that persist over steps (as
the perturbations of Shafahi et al., arXiv 1811.11304, do), and features in the place of labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.batches import to_unit
from mergeward.merge.adaptive.heads import apply_head
from mergeward.merge.adaptive.learning import finite
from mergeward.merge.adaptive.merged_encoder import Precision
from mergeward.merge.adaptive.optimizer import Adam
from mergeward.merge.adaptive.passes import Part
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.adaptive.session import OnCollapse, Session, SessionParameters
from mergeward.merge.adaptive.trigger_pool import CLEAN, Search, TriggerPool
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.processes import add_up

STAGE = "fortify"

CHUNK = 256
"""Images of which the features are computed at a time."""


class FortifyParameters(Parameters):
    """How a merged model is fortified; the method's and the defense's."""

    steps: int = Field(default=40, ge=0, description="steps of the weights")
    lr: float = Field(default=3e-4, ge=0, description="Adam step size of the weights")
    batch_size: int = Field(default=45, ge=2, description="adapt images a task and batch")
    climbs: int = Field(default=2, ge=1, description="steps of the triggers for each step of the weights")
    head_start: int = Field(default=5, ge=0, description="steps of the triggers before the first of those")
    clean_weight: float = Field(
        default=1.0, ge=0, description="weight of clean images, beside that of triggered ones, 1"
    )
    triggers: int = Field(default=8, ge=1, description="triggers of each task at a time")
    trigger_step: float = Field(default=0.06, gt=0, description="step of a trigger's pixels, in [0, 1]")
    smallest: float = Field(default=0.12, gt=0, le=1, description="least side of a patch over the image's")
    largest: float = Field(default=0.28, gt=0, le=1, description="greatest side of a patch over the image's")
    corners: float = Field(default=0.5, ge=0, le=1, description="share of patches that lie in a corner")
    tries: int = Field(
        default=20, ge=1, description="steps after which a trigger that does not work is replaced"
    )
    reach: float = Field(
        default=0.2, ge=0, le=1, description="share of its images that a trigger must get into its class"
    )
    precision: Precision = Field(
        default="float32",
        description="arithmetic of the encoder while learning; `bfloat16` runs it under autocast",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="images in one pass of the encoder; fewer take less memory and change results by "
        "rounding alone (by default as many as have 1.6 million pixels: 32 of 224 x 224)",
    )

    @model_validator(mode="after")
    def _check_sides(self) -> FortifyParameters:
        if self.smallest > self.largest:
            raise ValueError(f"smallest: {self.smallest:g} is above largest, {self.largest:g}")
        return self

    def session(self, coefficient: float, on_collapse: OnCollapse = "warn") -> SessionParameters:
        """Return what a session is told: to merge with one coefficient, and what a collapse leads to."""
        return SessionParameters(
            initial_coefficient=coefficient,
            batch_size=self.batch_size,
            precision=self.precision,
            on_collapse=on_collapse,
            micro_batch=self.micro_batch,
            step_sizes="one_cycle",
        )

    def search(self) -> Search:
        """Return how triggers are looked for."""
        return Search(
            per_task=self.triggers,
            smallest=self.smallest,
            largest=self.largest,
            corners=self.corners,
            step=self.trigger_step,
            tries=self.tries,
            reach=self.reach,
        )


class FortifiedMergeParameters(FortifyParameters):
    """Parameters of the method: a task arithmetic merge, and how it is fortified."""

    initial_coefficient: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="coefficient of every contribution in the merge that is fortified; less brings less of a "
        "backdoor along",
    )
    reference_coefficient: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="coefficient of the one contribution whose features the images of its task are to have; "
        "more brings its own faults along",
    )
    on_collapse: OnCollapse = Field(
        default="warn",
        description="when the predictions for a task collapse onto few classes: `warn`, or `refuse` to merge",
    )


class Weights:
    """All weights of a merged model, and what moves them."""

    def __init__(self, session: Session, lr: float) -> None:
        self._engine = session.engine
        self.optimizer = Adam(self._engine.theta, lr=lr)

    def step(self) -> None:
        """Take one step down the engine's gradient."""
        self.optimizer.begin()
        for span in self._engine.layout.spans:
            self.optimizer.update(span, self._engine.gradient[slice(*span)])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights and where the optimiser stands."""
        return {"theta": self._engine.theta, **self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self._engine.theta.copy_(state["theta"])
        self.optimizer.load_state_dict(state)


@dataclass(frozen=True)
class Fortifying:
    """One merged model while it is fortified.

    Attributes:
        session: The model; what its losses take for logits are features.
        heads: The tasks' heads, `[C_t, D]`.
        references: The features that every task's adapt images are to have, `[N_t, D]`.
        pool: The adversary's triggers.
        weights: What moves.
        clean_weight: Weight of the clean images, beside that of triggered ones, 1.
    """

    session: Session
    heads: Sequence[Tensor]
    references: Sequence[Tensor]
    pool: TriggerPool
    weights: Weights
    clean_weight: float

    @classmethod
    def of(
        cls,
        problem: AdaptiveProblem,
        parameters: FortifyParameters,
        settings: SessionParameters,
        reference_coefficient: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> Fortifying:
        """Set everything to its start.

        Args:
            problem: What is merged by task arithmetic.
            parameters: How it is fortified.
            settings: What the session is told.
            reference_coefficient: That of a task's own contribution where it says what features images have.
            dtype: Type of the arithmetic; float64 serves gradient checks.
        """
        features = torch.eye(problem.tasks[0].head.shape[1])
        bare = [replace(task, head=features) for task in problem.tasks]
        session = Session(replace(problem, tasks=bare), settings, lr=0.0, dtype=dtype)
        heads = [task.head.to(problem.device, dtype) for task in problem.tasks]
        pool = TriggerPool(
            [len(head) for head in heads],
            session.batches.sizes,
            problem.tasks[0].images.shape[-1],
            parameters.search(),
            problem.seed,
            dtype,
            problem.device,
        )
        weights = Weights(session, parameters.lr)
        session.learning.add(pool=pool, weights=weights)
        return cls(
            session,
            heads,
            [one.to(problem.device) for one in references(session, problem, reference_coefficient, dtype)],
            pool,
            weights,
            parameters.clean_weight,
        )

    def learn(self, parameters: FortifyParameters) -> dict[str, list[float]]:
        """Let triggers and weights move in turn; return the losses of every step, by part."""
        learning, head_start, climbs = self.session.learning, parameters.head_start, parameters.climbs
        if not learning.begun(STAGE):
            for batch in range(head_start):
                self.climb(batch)
        for step in learning.steps(STAGE, parameters.steps, paced=[self.weights.optimizer]):
            first = head_start + step * (climbs + 1)
            for batch in range(first, first + climbs):
                self.climb(batch)
            learning.record(self.descend(first + climbs))
        return {name: learning.losses.get(name, []) for name in ("triggered", "clean")}

    def climb(self, batch: int) -> None:
        """Let the triggers take one step towards their classes, on one batch."""
        targets = self.pool.targets
        losses = [self.heads[0].new_zeros(len(own)) for own in targets]
        hits = [own.clone() for own in losses]

        def towards(features: Tensor, part: Part) -> Tensor:
            own = targets[part.task][part.rows].to(features.device)
            logits = apply_head(features, self.heads[part.task])
            loss = F.cross_entropy(logits, own, ignore_index=CLEAN, reduction="none")
            losses[part.task][part.rows] = loss.detach()
            hits[part.task][part.rows] = (logits.detach().argmax(-1) == own).to(loss)
            return loss

        images = self.pool.apply(self.session.batches[batch])
        slope, _ = self.session.image_gradient(images, towards)
        # every process has seen its own images alone, and all must change their triggers alike
        loss, hit = add_up(torch.stack([torch.cat(losses), torch.cat(hits)])).cpu()
        finite(loss.sum(), STAGE, len(self.session.learning.losses.get("triggered", ())))
        self.pool.climb(slope, hit > 0)

    def descend(self, batch: int) -> dict[str, Tensor]:
        """Let the weights take one step towards the features that images are to have.

        Returns:
            1 - cosine, of `triggered` and of `clean` images: the means over a task's, summed over tasks.
        """
        members = self.session.batches.members(batch)
        is_clean = [own == CLEAN for own in self.pool.targets]
        drifts = [self.heads[0].new_zeros(len(own)) for own in is_clean]
        shares = [_shares(own, self.clean_weight) for own in is_clean]

        def drift(features: Tensor, part: Part) -> Tensor:
            there = self.references[part.task][members[part.task][part.rows]]
            own = 1 - (features * there).sum(-1)
            drifts[part.task][part.rows] = own.detach()
            return own * shares[part.task][part.rows].to(own)

        self.session.gradient(self.pool.apply(self.session.batches[batch]), drift)
        self.weights.step()
        whole = add_up(torch.cat(drifts)).float().cpu()  # every process has seen its own images alone
        found = list(zip(whole.split([len(own) for own in is_clean]), is_clean, strict=True))
        return {
            "triggered": torch.stack([own[~clean].mean() for own, clean in found]).sum(),
            "clean": torch.stack([own[clean].mean() for own, clean in found]).sum(),
        }


def run(problem: AdaptiveProblem, parameters: FortifiedMergeParameters) -> AdaptiveResult:
    """Merge by task arithmetic and fortify the result.

    theta starts at theta_0 + lambda sum_t tau_t. In every step each trigger of the pool takes `climbs` sign
    steps down CE(head_t(f(paste(x))), c) on images x of its task; then theta takes one Adam step down

        sum_t mean (1 - cos(f(paste(x)), f_t(x))) + clean_weight * mean (1 - cos(f(x), f_t(x)))

    with f_t the model at theta_0 + mu tau_t, the contribution that claims task t (at theta as it was, where
    none claims it). Images are clean and unlabelled; triggers are made, not given.

    Args:
        problem: Base, contributions and the tasks they claim, and the tasks' unlabelled images and heads.
        parameters: lambda (`initial_coefficient`), mu (`reference_coefficient`), and how the merge is
            fortified.

    Returns:
        Merged weights and a record with `loss` (`triggered` and `clean`, one number a step), `success` (of
        the last triggers), `balance` (`start` and `end`) and `coefficients`.

    Raises:
        DataError: A task has too few images for its triggers.
        MergewardError: The loss is no longer finite.
    """
    with fixed_threads():
        settings = parameters.session(parameters.initial_coefficient, parameters.on_collapse)
        fortifying = Fortifying.of(problem, parameters, settings, parameters.reference_coefficient)
        session = fortifying.session
        start = session.learning.remember("start", lambda: session.balance(problem.tasks))
        loss = fortifying.learn(parameters)
        balance = {"start": start, "end": session.balance(problem.tasks)}
        record = {"loss": loss, "success": fortifying.pool.success(), "balance": balance}
        return session.result(record)


def references(
    session: Session, problem: AdaptiveProblem, coefficient: float, dtype: torch.dtype
) -> list[Tensor]:
    """Return the features that the adapt images of every task are to have: `[N_t, D]`, on the processor.

    They are those of the base with `coefficient` times the task vector of the contribution that claims the
    task, or the mean of those that do, and no other's; where none claims it, those of the whole merge. The
    session's model is left as it was.
    """
    whole = session.coefficients.by_tensor()
    found = []
    for task in problem.tasks:
        own = whole.new_tensor([claim == task.name for claim in problem.claims])
        shares = coefficient * own / own.sum()
        session.engine.merge(shares[:, None].expand_as(whole) if own.any() else whole)
        parts = [session.encode(to_unit(part, dtype)) for part in task.images.split(CHUNK)]
        found.append(torch.cat(parts))
    session.engine.merge(whole)
    return found


def _shares(is_clean: Tensor, clean_weight: float) -> Tensor:
    """Return the factors of the images of a task whose mean is that of triggered and of clean ones apart."""
    count, clean = len(is_clean), int(is_clean.sum())
    own, other = is_clean.double(), (~is_clean).double()
    return own * clean_weight * (count / clean) + other * (count / (count - clean))


INFO = MethodInfo(
    name="fortify",
    summary="merges by task arithmetic, then moves the weights until small triggers move the features less",
    paper="mergeward; after Madry et al., ICLR 2018, arXiv:1706.06083",
    kind="adaptive",
    run=run,
    parameters=FortifiedMergeParameters,
    needs_images=True,
    any_device=True,
)
