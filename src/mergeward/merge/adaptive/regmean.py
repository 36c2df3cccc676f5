"""RegMean: each linear layer becomes the one that best repeats what the models' own do to their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mergeward import progress
from mergeward.compute import fixed_threads
from mergeward.errors import MergewardError, UnsupportedError
from mergeward.merge.adaptive.balance import CHUNK, balance_of
from mergeward.merge.adaptive.batches import sample
from mergeward.merge.adaptive.members import average, features_of, with_weights
from mergeward.merge.adaptive.problem import AdaptiveProblem, AdaptiveResult
from mergeward.merge.method import MethodInfo, Parameters


class RegMeanParameters(Parameters):
    """Parameters of RegMean."""

    layers: Literal["linear", "mlp"] = Field(
        default="linear",
        description="`linear`: every linear layer; `mlp`: those of the MLPs only, which is what the method "
        "comes to on OpenCLIP's layout (BadMerging), whose attention projections its hooks do not see",
    )
    off_diagonal: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="factor of the Gram matrices' off-diagonal values (the paper: 0.9, or 0.1; MergeLM: 1; "
        "FusionBench: 0.95; BadMerging: 0.1)",
    )
    ridge: float = Field(
        default=1e-6,
        ge=0,
        description="share of the summed Gram matrices' mean diagonal by which the weights are drawn to the "
        "plain mean (published: 0): decides where inputs are always zero",
    )
    images: int = Field(
        default=1024, ge=1, description="adapt images a contribution, at most (BadMerging: 1024)"
    )


def run(problem: AdaptiveProblem, parameters: RegMeanParameters) -> AdaptiveResult:
    """Merge by RegMean (arXiv:2212.09849).

    With X_i the inputs that a linear layer has in contribution i, on the adapt images of its own task, the
    merged weights minimise sum_i |X_i W^T - X_i W_i^T|^2 / n_i:

        W^T = (sum_i G_i)^-1 sum_i G_i W_i^T,     G_i = X_i^T X_i / n_i over n_i tokens,

    with the off-diagonal values of each G_i scaled down. Biases and all other tensors are averaged. No label
    is used.

    Args:
        problem: Base, contributions with the tasks they claim, and the tasks' unlabelled images.
        parameters: See `RegMeanParameters`.

    Returns:
        Merged weights and a record with `layers` (the names of those that were solved for) and `balance`
        (`start`, of the plain average, and `end`).

    Raises:
        UnsupportedError: The encoder has no linear layer of the kind asked for.
        DataError: The contributions' tasks are not known.
        MergewardError: A Gram matrix cannot be inverted, or a model's features are not finite.
    """
    layers = linear_layers(problem.encoder, mlp_only=parameters.layers == "mlp")
    own = problem.own_tasks("regmean")
    with fixed_threads():
        sums = {name: LayerSums(width) for name, width in layers.items()}
        for name, task, weights in zip(problem.names, own, problem.contributions, strict=True):
            module = with_weights(problem.encoder, weights)
            grams = input_grams(
                module, list(layers), sample(task, parameters.images, problem.seed), who=f"regmean: {name}"
            )
            for layer, gram in grams.items():
                sums[layer].add(scaled_down(gram, parameters.off_diagonal), weights[f"{layer}.weight"])
        start = average(problem.contributions)
        seen = [layer for layer, one in sums.items() if one.seen]
        keys = {layer: f"{layer}.weight" for layer in seen}
        solved = {key: sums[layer].solve(start[key], parameters.ridge, layer) for layer, key in keys.items()}
        merged = {**start, **solved}
        record: dict[str, Any] = {
            "layers": seen,
            "balance": {
                place: balance_of(with_weights(problem.encoder, weights), problem.tasks, problem.seed)
                for place, weights in (("start", start), ("end", merged))
            },
        }
    return AdaptiveResult(merged, record)


def linear_layers(encoder: nn.Module, *, mlp_only: bool) -> dict[str, int]:
    """Return the names of an encoder's linear layers with the widths of their inputs.

    Args:
        encoder: The encoder.
        mlp_only: Only those directly within a module called `mlp`.

    Raises:
        UnsupportedError: There is none.
    """
    found = {
        name: module.in_features
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and (not mlp_only or name.split(".")[-2:-1] == ["mlp"])
    }
    if not found:
        kind = "linear layers in modules called 'mlp'" if mlp_only else "linear layers"
        raise UnsupportedError(f"regmean: needs {kind}; {type(encoder).__name__} has none")
    return found


def input_grams(module: nn.Module, layers: Sequence[str], images: Tensor, *, who: str) -> dict[str, Tensor]:
    """Return the mean over images and tokens of x x^T, for the inputs x of each layer that had any.

    Args:
        module: The encoder, frozen; its type is that of the arithmetic.
        layers: Names of its linear layers.
        images: uint8 `[N, 3, S, S]`.
        who: What to call the model.

    Returns:
        By layer `[in, in]`.

    Raises:
        MergewardError: A feature is not finite.
    """
    meters = {name: _Gram() for name in layers}
    dtype = next(module.parameters()).dtype
    with _listening(module, meters):
        for chunk in progress.track(images.split(CHUNK), who):
            features_of(module, chunk, who=who, dtype=dtype)
    return {name: meter.total / meter.count for name, meter in meters.items() if meter.total is not None}


def scaled_down(gram: Tensor, off_diagonal: float) -> Tensor:
    """Return a matrix with its off-diagonal values times a factor, float64."""
    gram = gram.double()
    return gram * off_diagonal + torch.diag((1 - off_diagonal) * gram.diagonal())


class _Gram:
    """Sums x x^T over the inputs of one layer."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].flatten(0, -2)
        product = rows.T @ rows
        self.total = product if self.total is None else self.total.add_(product)
        self.count += len(rows)


class LayerSums:
    """sum_i G_i and sum_i G_i W_i^T of one layer."""

    def __init__(self, width: int) -> None:
        self.seen = False
        self._grams = torch.zeros(width, width, dtype=torch.float64)
        self._products: Tensor | None = None

    def add(self, gram: Tensor, weight: Tensor) -> None:
        """Add one contribution's Gram matrix `[in, in]` and weights `[out, in]`."""
        self.seen = True
        self._grams += gram
        product = gram @ weight.double().T
        self._products = product if self._products is None else self._products.add_(product)

    def solve(self, mean: Tensor, ridge: float, layer: str) -> Tensor:
        """Return the merged weights `[out, in]`, float32.

        Args:
            mean: The mean of the layer's weights, which the ridge draws to.
            ridge: Share of the mean diagonal that is added to the diagonal.
            layer: The layer's name, for the error.
        """
        pull = ridge * self._grams.diagonal().mean()
        factor, failed = torch.linalg.cholesky_ex(self._grams + pull * torch.eye(len(self._grams)))
        if self._products is None or int(failed):
            raise MergewardError(
                f"regmean: the inputs of {layer!r} do not determine its weights; give parameters.ridge a "
                "value above zero, or off_diagonal one below 1"
            )
        wanted = self._products + pull * mean.double().T
        return torch.cholesky_solve(wanted, factor).T.float().contiguous()


@contextmanager
def _listening(module: nn.Module, meters: Mapping[str, _Gram]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, meter in meters.items():
            stack.callback(module.get_submodule(name).register_forward_pre_hook(meter).remove)
        yield


INFO = MethodInfo(
    name="regmean",
    summary="gives each linear layer the weights that best repeat all models' outputs on their own inputs",
    paper='Jin et al., "Dataless Knowledge Fusion by Merging Weights of Language Models", ICLR 2023, '
    "arXiv:2212.09849",
    kind="adaptive",
    run=run,
    parameters=RegMeanParameters,
    needs_images=True,
)
