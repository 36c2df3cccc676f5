"""Fisher merging: an average in which each weight counts by how much its model's predictions hang on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mergeward import progress
from mergeward.compute import fixed_threads
from mergeward.merge.adaptive.balance import balance_of
from mergeward.merge.adaptive.batches import sample, to_unit
from mergeward.merge.adaptive.heads import apply_heads
from mergeward.merge.adaptive.members import average, features_of, with_weights
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.method import MethodInfo, Parameters
from mergeward.seeding import torch_generator

Estimate = Literal["exact", "monte_carlo", "mergelm"]

NEGLIGIBLE = 1e-6
"""What counts less than this share of an image's mean is left out of the exact expectation."""

HELD = 1 << 26
"""At most so many gradient values are held at a time, where one gradient is not more."""


class FisherParameters(Parameters):
    """Parameters of Fisher merging."""

    estimate: Estimate = Field(
        default="exact",
        description="`exact`: expectation over the model's own predictions (the paper); `monte_carlo`: one "
        "label an image drawn from them (the paper, where classes are many); `mergelm`: the estimate of "
        "MergeLM and FusionBench, which squares sums over batches",
    )
    images: int = Field(
        default=256, ge=1, description="adapt images a contribution, at most (MergeLM, FusionBench: 256)"
    )
    batch_size: int = Field(
        default=32, ge=1, description="with `mergelm`, images whose gradients are summed (FusionBench: 32)"
    )
    normalize: bool = Field(
        default=True,
        description="whether each contribution's Fisher is divided by its norm (the paper's code, MergeLM)",
    )
    floor: float = Field(
        default=1e-6,
        gt=0,
        description="added to every value of the Fisher (MergeLM: 1e-6): where all are small, the mean",
    )

    @model_validator(mode="after")
    def _check_batch_size(self) -> FisherParameters:
        if self.estimate != "mergelm" and "batch_size" in self.model_fields_set:
            raise ValueError(
                f"batch_size: has no effect with `estimate: {self.estimate}`; `mergelm` sums over batches"
            )
        return self


def run(problem: AdaptiveProblem, parameters: FisherParameters) -> AdaptiveResult:
    """Merge by Fisher merging (arXiv:2111.09832).

    theta[j] = sum_i F_i[j] theta_i[j] / sum_i F_i[j], where F_i is the diagonal of contribution i's Fisher
    information over the adapt images of its own task,

        F[j] = mean over x of E_{y ~ p(y|x)} (d log p(y|x) / d theta[j])^2,

    so labels are those that the model itself predicts. Contributions count the same; the paper chooses
    factors on labelled images, which are not here. With `mergelm` F is the sum over batches of
    (d/dtheta[j] sum_x sum_y sqrt(p(y|x)) log p(y|x))^2 with sqrt(p) held fixed, divided by the number of
    images: it depends on the size of the batches and is no estimate of the above.

    Args:
        problem: Base, contributions with the tasks they claim, and the tasks' unlabelled images and heads.
        parameters: See `FisherParameters`.

    Returns:
        Merged weights and a record with `coefficients` (mean share of each contribution in each tensor),
        `fisher` (norm by contribution) and `balance` (`start`, of the plain average, and `end`).

    Raises:
        DataError: The contributions' tasks are not known.
        MergewardError: A model's features are not finite.
    """
    own = problem.own_tasks("fisher")
    with fixed_threads():
        fishers = []
        for name, task, weights in zip(problem.names, own, problem.contributions, strict=True):
            module = with_weights(problem.encoder, weights)
            images = sample(task, parameters.images, problem.seed)
            generator = torch_generator(problem.seed, "fisher labels", name)
            fishers.append(diagonal_fisher(module, images, task.head, parameters, generator, name))
        start = average(problem.contributions)
        merged, shares = fisher_mean(
            problem.contributions, fishers, normalize=parameters.normalize, floor=parameters.floor
        )
        record: dict[str, Any] = {
            "coefficients": dict(zip(problem.names, shares, strict=True)),
            "fisher": {name: float(norm(one)) for name, one in zip(problem.names, fishers, strict=True)},
            "balance": {
                place: balance_of(with_weights(problem.encoder, weights), problem.tasks, problem.seed)
                for place, weights in (("start", start), ("end", merged))
            },
        }
    return AdaptiveResult(merged, record)


def diagonal_fisher(
    module: nn.Module,
    images: Tensor,
    head: Tensor,
    parameters: FisherParameters,
    generator: torch.Generator,
    name: str,
) -> dict[str, Tensor]:
    """Return the diagonal of a model's Fisher information, by parameter.

    Args:
        module: The model's encoder, frozen; its type is that of the arithmetic.
        images: uint8 `[N, 3, S, S]`.
        head: `[C, D]`.
        parameters: Which estimate; `images` has been applied already.
        generator: Draws the labels of `monte_carlo`.
        name: What to call the model.
    """
    dtype = next(module.parameters()).dtype
    head = head.to(dtype)
    features = features_of(module, images, who=f"fisher: {name}", dtype=dtype)
    (logits,) = apply_heads(features, [head], [len(images)])
    if parameters.estimate == "mergelm":
        owners = torch.arange(len(images)).split(parameters.batch_size)
        pulls = [(indices[None], (whole_batch(logits[indices]) @ head)[None]) for indices in owners]
    else:
        exact = parameters.estimate == "exact"
        image, pull = expectation(logits) if exact else drawn(logits, generator)
        held = max(1, HELD // sum(p.numel() for p in module.parameters()))
        chunks = zip(image.split(held), (pull @ head).split(held), strict=True)
        pulls = [(indices[:, None], pull[:, None]) for indices, pull in chunks if len(indices)]
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for indices, pull in progress.track(pulls, f"fisher: {name}"):
        add_squared_gradients(total, module, to_unit(images[indices], dtype), pull)
    return {name: value / len(images) for name, value in total.items()}


def add_squared_gradients(
    total: Mapping[str, Tensor], module: nn.Module, images: Tensor, pulls: Tensor
) -> None:
    """Add the squares of the gradients of <features, pull>, each summed over a group of images.

    Args:
        total: By parameter, what they are added to.
        module: Maps images to features `[n, D]`.
        images: `[G, n, 3, S, S]`, `G` groups of images.
        pulls: `[G, n, D]`.
    """
    weights: dict[str, Tensor] = dict(module.named_parameters())

    def value(weights: dict[str, Tensor], images: Tensor, pull: Tensor) -> Tensor:
        features: Tensor = functional_call(module, weights, (images,))
        return (features * pull).sum()

    # The fused kernels of attention cannot be mapped over groups.
    with sdpa_kernel(SDPBackend.MATH):
        gradients = vmap(grad(value), in_dims=(None, 0, 0))(weights, images, pulls)
    for name, gradient in gradients.items():
        total[name].add_(gradient.square_().sum(0))


def expectation(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return pulls on the logits whose squared gradients sum to E_y (d log p(y|x) / d theta)^2.

    With J the derivative of an image's logits, the expectation is the diagonal of J^T (diag(p) - p p^T) J.
    The eigenvectors of the matrix in the middle, times the roots of their eigenvalues, are fewer pulls than
    one for each class: a confident prediction needs one or none.

    Args:
        logits: `[N, C]`.

    Returns:
        int64 `[K]`, the image of each pull, and `[K, C]`, the pulls.
    """
    p = logits.double().softmax(-1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    image, place = (values > NEGLIGIBLE * values.sum(1).mean()).nonzero(as_tuple=True)
    pulls = vectors[image, :, place] * values[image, place].sqrt()[:, None]
    return image, pulls.to(logits.dtype)


def drawn(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one pull an image, to the log-probability of a label drawn from the predictions.

    Args:
        logits: `[N, C]`.
        generator: Draws the labels.
    """
    p = logits.softmax(-1)
    labels = torch.multinomial(p, 1, generator=generator)[:, 0]
    return torch.arange(len(logits)), F.one_hot(labels, p.shape[1]).to(p.dtype) - p


def whole_batch(logits: Tensor) -> Tensor:
    """Return MergeLM's pulls on the logits `[N, C]` of one batch, which is differentiated as a whole."""
    p = logits.softmax(-1)
    return p.sqrt() - p * p.sqrt().sum(-1, keepdim=True)


def norm(fisher: Mapping[str, Tensor]) -> Tensor:
    """Return the norm of all values together."""
    every: Tensor = torch.linalg.vector_norm(torch.stack([value.norm() for value in fisher.values()]))
    return every


def fisher_mean(
    models: Sequence[Mapping[str, Tensor]],
    fishers: Sequence[Mapping[str, Tensor]],
    *,
    normalize: bool,
    floor: float,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Average models, each value weighted by its Fisher value.

    Args:
        models: Tensors by name.
        fishers: For each model, its Fisher values by name.
        normalize: Whether to divide each by its norm.
        floor: Added to every value and to the norms.

    Returns:
        The average, and by model and tensor its mean share in it.
    """
    scales = [1 / (norm(fisher) + floor) if normalize else torch.ones(()) for fisher in fishers]
    merged: dict[str, Tensor] = {}
    shares: list[dict[str, float]] = [{} for _ in models]
    for name in models[0]:
        counts = torch.stack([scale * (f[name] + floor) for scale, f in zip(scales, fishers, strict=True)])
        counts /= counts.sum(0)
        merged[name] = (counts * torch.stack([model[name] for model in models])).sum(0).float()
        for share, count in zip(shares, counts, strict=True):
            share[name] = float(count.mean())
    return merged, shares


INFO = MethodInfo(
    name="fisher",
    summary="averages the models, each weight counting by the Fisher information that its model has in it",
    paper='Matena, Raffel, "Merging Models with Fisher-Weighted Averaging", NeurIPS 2022, arXiv:2111.09832',
    kind="adaptive",
    run=run,
    parameters=FisherParameters,
    needs_images=True,
)
