"""What the methods share that look at the singular values of weight matrices.

Singular vectors come from the eigenvectors of the smaller Gram matrix in float64, twice as fast as a singular
value decomposition and as exact where a singular value is not tiny beside the largest. Directions whose
singular value is below `NEGLIGIBLE` of the largest are rounding noise of float32 weights and count as none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import Parameters
from mergeward.merge.static.problem import Part, StaticMerge

NEGLIGIBLE = 1e-7


class MatrixParameters(Parameters):
    """Parameters of the methods that treat matrices apart.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        exclude: Parts of the names of matrices that are no linear maps, or are not to be treated as such.
    """

    scale: float = Field(default=1.0, alias="lambda", description="factor of the merged task vector")
    exclude: str = Field(
        default="text_projection",
        description="parts of names, separated by commas: such matrices are treated as other tensors are",
    )

    def covers(self, part: Part) -> bool:
        """Whether a tensor is one of the matrices that are treated apart."""
        words = [word.strip() for word in self.exclude.split(",") if word.strip()]
        return len(part.shape) == 2 and min(part.shape) > 0 and not any(word in part.name for word in words)


class Triplets(NamedTuple):
    """The largest singular values of a matrix, with their vectors, float64.

    Attributes:
        left: `[m, k]`; a column of zeros where the singular value counts as none.
        values: `[k]`, descending.
        right: `[k, n]`.
    """

    left: Tensor
    values: Tensor
    right: Tensor


def singular_triplets(matrix: Tensor, count: int | None = None) -> Triplets:
    """Return the largest singular values and vectors of a matrix.

    Args:
        matrix: `[m, n]`.
        count: How many; by default min(m, n).
    """
    double = matrix.to(torch.float64)
    if double.shape[0] < double.shape[1]:
        left, values, right = singular_triplets(double.T, count)
        return Triplets(right.T, values, left.T)
    count = double.shape[1] if count is None else count
    squares, vectors = torch.linalg.eigh(double.T @ double)
    squares, vectors = squares.flip(0)[:count], vectors.flip(1)[:, :count]
    values = squares.clamp(min=0).sqrt()
    present = values > NEGLIGIBLE * values[:1]
    inverse = torch.where(present, 1 / values.where(present, torch.ones_like(values)), 0.0)
    return Triplets(double @ (vectors * inverse), values * present, (vectors * present).T)


def polar_factor(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal columns (or rows): U V^T of A = U S V^T.

    Directions in which the matrix is zero stay zero.
    """
    left, _, right = singular_triplets(matrix)
    return left @ right


def merge_matrices(
    covers: Callable[[Part], bool],
    merged_matrix: Callable[[Part, Sequence[Tensor]], Tensor],
    scale: Callable[[Part], float],
) -> StaticMerge:
    """Return the merge theta_0 + scale * (a function of the task vectors of a matrix, the mean for others).

    Args:
        covers: Whether a whole tensor goes to the function.
        merged_matrix: Given a part and its task vectors, `[m, n]` each, returns the merged one.
        scale: The factor of a part.
    """

    def merged(part: Part) -> Tensor:
        base = part.base()
        taus = list(part.task_vectors(base))
        total = merged_matrix(part, taus) if covers(part) else mean(taus)
        return base.add_(total.mul(scale(part)).to(base))

    return StaticMerge(merged, whole=True)


def mean(taus: Sequence[Tensor]) -> Tensor:
    """Return the mean of task vectors, float64."""
    total = torch.zeros_like(taus[0], dtype=torch.float64)
    for tau in taus:
        total.add_(tau)
    return total.div_(len(taus))
