"""Inner products of whole task vectors or models, which are all that merges along their span need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem

Floats: TypeAlias = NDArray[np.float64]


def task_vectors(part: Part) -> list[Tensor]:
    """Return the task vectors of a part."""
    return list(part.task_vectors(part.base()))


def grams(
    problem: StaticProblem, vectors: Callable[[Part], Sequence[Tensor]] = task_vectors
) -> dict[str, Floats]:
    """Return by tensor the inner product of each two contributions, float64.

    Args:
        problem: The base, its contributions and the scope.
        vectors: What to multiply, of each contribution; by default its task vector.

    Returns:
        Matrices of shape `[contributions, contributions]`. It costs one pass.
    """

    def gram(part: Part) -> tuple[str, Floats]:
        return part.name, gram_matrix(torch.stack([v.reshape(-1) for v in vectors(part)]))

    totals: dict[str, Floats] = {}
    for name, products in problem.map(gram, "measuring angles"):
        totals[name] = totals[name] + products if name in totals else products
    return totals


def gram_matrix(vectors: Tensor) -> Floats:
    """Return the inner products of the last dimension's vectors, float64, on the CPU."""
    double = vectors.to(torch.float64)
    products: Floats = (double @ double.mT).cpu().numpy()
    return products


def norms(gram: Floats) -> Floats:
    """Return the length of each vector."""
    lengths: Floats = np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))
    return lengths


def cosines(gram: Floats) -> Floats:
    """Return the cosine of the angle of each two vectors; 0 with a vector of zeros."""
    lengths = norms(gram)
    products = lengths[..., :, None] * lengths[..., None, :]
    return np.clip(np.divide(gram, products, out=np.zeros_like(gram), where=products > 0), -1, 1)


def along_span(coefficients: Mapping[str, Floats], *, of_models: bool = False) -> StaticMerge:
    """Return the merge theta_0 + sum_i c_i * tau_i.

    Args:
        coefficients: The c_i by tensor.
        of_models: Whether they are factors of models instead: sum_i c_i * theta_i.
    """

    def merged(part: Part) -> Tensor:
        factors = coefficients[part.name].tolist()
        base = part.base()
        total = base.mul(math.fsum(factors) - 1) if of_models else torch.zeros_like(base)
        for factor, tau in zip(factors, part.task_vectors(base), strict=True):
            total.add_(tau.mul_(factor))
        return base.add_(total)

    return StaticMerge(merged)
