"""A problem set up for learning: the merged encoder, the heads and the batches, used by every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mergeward.errors import MergewardError
from mergeward.merge.adaptive.balance import Balance, balance_of, collapses, refuse_broken
from mergeward.merge.adaptive.batches import Batches
from mergeward.merge.adaptive.coefficients import Coefficients, Granularity
from mergeward.merge.adaptive.heads import apply_head, apply_heads
from mergeward.merge.adaptive.learning import Learning, StepSizes
from mergeward.merge.adaptive.merged_encoder import Blocks, MergedEncoder
from mergeward.merge.adaptive.passes import Part, automatic_size, passes
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult, UnlabelledTask
from mergeward.merge.method import Parameters
from mergeward.processes import add_up, process_count, process_number

OnCollapse = Literal["warn", "refuse"]


class SessionParameters(Parameters):
    """What every adaptive merge can be told."""

    initial_coefficient: float = Field(
        default=0.3, ge=0, le=1, description="starting value of every coefficient (AdaMerging: 0.3)"
    )
    batch_size: int = Field(
        default=16,
        ge=1,
        description="adapt images a task and batch (DAM: 16; AdaMerging: two batches of 16 a step)",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="arithmetic of the encoder while learning; `bfloat16` runs it under autocast",
    )
    on_collapse: OnCollapse = Field(
        default="warn",
        description="when the predictions for a task collapse onto few classes, which entropy rewards: "
        "`warn`, or `refuse` to merge",
    )
    task_vectors: Literal["float32", "bfloat16", "int8"] = Field(
        default="float32",
        description="how task vectors are kept while learning: whole, or rounded to take less memory",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="images in one pass of the encoder; fewer take less memory and change results by "
        "rounding alone (by default as many as have 1.6 million pixels: 32 of 224 x 224)",
    )
    step_sizes: StepSizes = Field(
        default="constant",
        description="`cosine` lets the step sizes of what is merged (coefficients, masks, weights) fall to "
        "zero over each stage; `one_cycle` lets them rise over its first tenth, too",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="end a stage when the mean loss of so many steps on the adapt images is no longer below "
        "that of as many before (by default every step is taken)",
    )
    gain: float = Field(
        default=0.01, ge=0, lt=1, description="share by which that mean must fall for the stage to go on"
    )

    @model_validator(mode="after")
    def _check_gain(self) -> Self:
        if self.patience is None and "gain" in self.model_fields_set:
            raise ValueError("gain: has no effect without patience; every step is taken")
        return self


class LearntCoefficients(SessionParameters):
    """The same for those that learn coefficients."""

    granularity: Granularity = Field(
        default="layer",
        description="`layer`: one coefficient a contribution and tensor; `task`: one a contribution",
    )


ImageLoss = Callable[[Tensor, Part], Tensor]
"""The loss of single images `[b]` from logits `[b, C]` of the images of one task in one pass."""


class Learnt(NamedTuple):
    """What passes over a batch gave beside gradients.

    Attributes:
        loss: The sum over tasks of a task's mean loss.
        classes: The predicted class of every image that this process looked at: int64 `[B_t]` for each task.
    """

    loss: Tensor
    classes: list[Tensor]


class Session:
    """The state of one adaptive merge.

    Args:
        problem: What is merged, and for which tasks.
        parameters: Starting coefficients, batch size and precision.
        lr: Adam step size of the coefficients.
        granularity: See `Coefficients`.
        clamp: Whether the coefficients stay in [0, 1].
        dtype: Type of the arithmetic outside autocast; float64 serves gradient checks.

    Attributes:
        engine: The merged encoder.
        coefficients: The merging coefficients.
        batches: Batches of adapt images, all tasks side by side.
        learning: The stages of the learning; the coefficients are a part of it.
    """

    def __init__(
        self,
        problem: AdaptiveProblem,
        parameters: SessionParameters,
        *,
        lr: float,
        granularity: Granularity = "task",
        clamp: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._problem = problem
        self._on_collapse = parameters.on_collapse
        self._dtype = dtype
        self._heads = [task.head.to(problem.device, dtype) for task in problem.tasks]
        self.engine = MergedEncoder(
            problem.encoder,
            problem.base,
            problem.contributions,
            precision=parameters.precision,
            storage=parameters.task_vectors,
            dtype=dtype,
            device=problem.device,
        )
        self.coefficients = Coefficients(
            len(problem.contributions),
            len(problem.base),
            granularity=granularity,
            initial=parameters.initial_coefficient,
            lr=lr,
            clamp=clamp,
            dtype=dtype,
            device=problem.device,
        )
        self.learning = Learning(
            problem.store,
            step_sizes=parameters.step_sizes,
            patience=parameters.patience,
            gain=parameters.gain,
        )
        self.learning.add(coefficients=self.coefficients)
        self.batches = Batches(problem.tasks, parameters.batch_size, problem.seed, dtype, problem.device)
        largest = parameters.micro_batch or automatic_size(problem.tasks[0].images.shape[-1])
        share = -(-sum(self.batches.sizes) // process_count())
        self._passes = passes(self.batches.sizes, min(largest, share))[process_number() :: process_count()]
        self.engine.merge(self.coefficients.by_tensor())

    def merge(self, mask: Tensor | Blocks | None = None) -> None:
        """Merge with the present coefficients and a mask, or none."""
        self.engine.merge(self.coefficients.by_tensor(), mask)

    def logits(self, images: Tensor) -> list[Tensor]:
        """Return the logits `[B_t, C_t]` of each task for one batch, by one pass of the encoder."""
        return apply_heads(self.engine.features(images), self._heads, self.batches.sizes)

    def gradient(self, images: Tensor, loss: ImageLoss) -> Learnt:
        """Fill the engine's gradient with that of a loss over a batch, in place of the last one.

        Args:
            images: `[sum of sizes, 3, S, S]`, task after task.
            loss: What is summed over tasks, as the mean over a task's images.
        """
        self.engine.clear()
        return self.add_gradient(images, loss)

    def add_gradient(self, images: Tensor, loss: ImageLoss, *, scale: float = 1.0) -> Learnt:
        """Add `scale` times the gradient of a loss over a batch to the engine's gradient; see `gradient`."""

        def descend(total: Tensor, _: slice) -> None:
            (scale * total).backward()

        if process_number():  # what is there already is in the first process's share of the sum
            self.engine.clear()
        learnt = self._over(images, loss, descend)
        add_up(self.engine.gradient)
        return learnt

    def image_gradient(self, images: Tensor, loss: ImageLoss) -> tuple[Tensor, Learnt]:
        """Return the gradient of a loss over a batch with respect to its images, in their shape."""
        leaf = images.detach().requires_grad_()
        gradient = torch.zeros_like(leaf)

        def collect(total: Tensor, rows: slice) -> None:
            (own,) = torch.autograd.grad(total, [leaf])
            gradient[rows] = own[rows]

        with self.engine.frozen():
            learnt = self._over(leaf, loss, collect)
        return add_up(gradient), learnt

    def _over(self, images: Tensor, loss: ImageLoss, use: Callable[[Tensor, slice], None]) -> Learnt:
        """Hand the loss of each of this process's passes to `use`, with their rows, and gather the rest."""
        total = images.new_zeros(())
        classes = [images.new_zeros(size, dtype=torch.int64) for size in self.batches.sizes]
        for one in self._passes:
            features = self.engine.features(images[one.rows]).split([part.count for part in one.parts])
            share = total.new_zeros(())
            for part, own in zip(one.parts, features, strict=True):
                logits = apply_head(own, self._heads[part.task])
                share = share + loss(logits, part).sum() / self.batches.sizes[part.task]
                classes[part.task][part.rows] = logits.detach().argmax(-1)
            use(share, one.rows)
            total += share.detach()
        return Learnt(add_up(total), classes)

    def step_along(self) -> None:
        """Let the coefficients take one step down the engine's gradient; theta stays until the next merge."""
        self.coefficients.step(self.engine.coefficient_gradient())

    def balance(self, tasks: Sequence[UnlabelledTask] | None = None) -> dict[str, Balance]:
        """Return how the present model's predictions spread over the classes of each task.

        Args:
            tasks: The tasks; by default those of the problem.
        """
        return balance_of(self.encode, tasks or self._problem.tasks, self._problem.seed, self._dtype)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return features on the processor of images there, in one pass."""
        return self.engine.features(images.to(self._problem.device)).cpu()

    def result(
        self, record: Mapping[str, Any], masks: Mapping[str, Mapping[str, Tensor]] | None = None
    ) -> AdaptiveResult:
        """Return the present weights, and the record with the present coefficients and collapses added.

        Args:
            record: What was learnt; its `balance` has `start` and `end`.
            masks: Learnt masks, if any.

        Raises:
            MergewardError: The predictions for a task are no numbers; or they collapsed, and that is to be
                refused.
        """
        refuse_broken("the merged model", record["balance"]["end"])
        found = collapses(record["balance"]["start"], record["balance"]["end"])
        if found and self._on_collapse == "refuse":
            raise MergewardError("; ".join(found.values()) + "; nothing was merged (on_collapse: refuse)")
        names = self.engine.layout.names
        coefficients = self.coefficients.named(self._problem.names, names)
        whole = {**record, "collapsed": found, "coefficients": coefficients}
        return AdaptiveResult(self.engine.weights(), whole, masks or {})
