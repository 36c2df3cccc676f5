"""Figures of task vectors beside one another, from checkpoints that need not fit in memory.

Only sums over elements are kept: inner products for each layer, and counts of signs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergeward.checkpoint import TensorSource
from mergeward.compute import fixed_threads
from mergeward.progress import track

CHUNK = 1 << 20
"""Elements at a time; a sum of so many signs is exact in float32."""


@dataclass(frozen=True)
class VectorSums:
    """Sums over the elements of `N` task vectors tau_i = theta_i - theta_0.

    Attributes:
        layers: Names of the `L` layers, in file order.
        products: float64 `[L, N, N]`, inner products of the task vectors within each layer.
        agree: float64 `[N, N]`, at how many elements two task vectors have the same sign.
        moved: float64 `[N, N]`, at how many elements neither of two task vectors is zero.
    """

    layers: tuple[str, ...]
    products: Tensor
    agree: Tensor
    moved: Tensor

    @property
    def norms(self) -> Tensor:
        """float64 `[N]`, the length of each task vector."""
        return self.products.sum(0).diagonal().sqrt()

    @property
    def layer_norms(self) -> Tensor:
        """float64 `[L, N]`, the length of each task vector within each layer."""
        return self.products.diagonal(dim1=1, dim2=2).sqrt()

    @property
    def cosines(self) -> Tensor:
        """float64 `[N, N]`; NaN where one of two task vectors is zero."""
        return self.products.sum(0) / torch.outer(self.norms, self.norms)

    @property
    def sign_agreement(self) -> Tensor:
        """float64 `[N, N]` between 0 and 1, over elements that both moved; NaN where there is none."""
        return self.agree / self.moved


def vector_sums(
    base: TensorSource, contributions: Sequence[TensorSource], scope: Sequence[str]
) -> VectorSums:
    """Sum over the task vectors of `contributions`, tensor by tensor.

    Args:
        base: The pretrained model.
        contributions: `N` fine-tunes of it, which passed `check_compatible` over the scope.
        scope: Names of the tensors that take part.

    Raises:
        CheckpointError: A tensor cannot be read, or holds NaN or infinity.
    """
    layers = tuple(dict.fromkeys(map(layer_of, scope)))
    place = {layer: index for index, layer in enumerate(layers)}
    count = len(contributions)
    products = torch.zeros(len(layers), count, count, dtype=torch.float64)
    agree, moved = torch.zeros(2, count, count, dtype=torch.float64)
    with fixed_threads(1):  # so few rows gain nothing from more, and wait for them on a busy machine
        for name in track(tuple(scope), "task-vector statistics"):
            start = base.read(name).flatten()
            ends = [contribution.read(name).flatten() for contribution in contributions]
            for first in range(0, start.numel(), CHUNK):
                part = slice(first, first + CHUNK)
                vectors = torch.stack([end[part].float() for end in ends]) - start[part].float()
                signs = vectors.sign()
                both = (signs.abs() @ signs.abs().T).double()
                products[place[layer_of(name)]] += vectors.double() @ vectors.double().T
                agree += (both + (signs @ signs.T).double()) / 2
                moved += both
    return VectorSums(layers, products, agree, moved)


def layer_of(name: str) -> str:
    """Return the layer a tensor belongs to: its name up to the first number, else up to the last dot.

    Example:
        >>> layer_of("vision_model.encoder.layers.3.mlp.fc1.weight")
        'vision_model.encoder.layers.3'
        >>> layer_of("visual_projection.weight")
        'visual_projection'
    """
    block = re.match(r".*?\.\d+(?=\.)", name)
    return block.group() if block else name.rpartition(".")[0] or name
