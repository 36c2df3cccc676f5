"""TSV-M: keep a few singular directions of each task's matrices, and make those of all tasks orthogonal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergeward.errors import UnsupportedError
from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.matrices import (
    MatrixParameters,
    merge_matrices,
    polar_factor,
    singular_triplets,
)
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


def run(problem: StaticProblem, schedule: Schedule[MatrixParameters, NoParameters]) -> StaticMerge:
    """Merge each matrix by theta_0 + lambda * sum_i U'_i S_i V'_i, and other tensors by their mean.

    Of each task's matrix its int(min(m, n) / T) largest singular values S_i are kept. U' is the polar
    factor of [U_1 ... U_T], the nearest matrix with orthonormal columns, and so is V' of the right singular
    vectors: the directions of different tasks no longer interfere. T task vectors of one tensor are held at
    a time. Fused and split query, key and value matrices give different results.

    Source: Gargiulo et al., "Task Singular Vectors", section 4 (arXiv:2412.00081); what is no matrix is
    averaged, as in the authors' code. There directions of singular value zero take part with arbitrary
    vectors; here they do not take part.

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and the names that are excluded.

    Raises:
        UnsupportedError: A matrix has fewer rows or columns than there are contributions.
    """
    count = len(problem.contributions)

    def merged_matrix(part: Part, taus: Sequence[Tensor]) -> Tensor:
        rank = min(part.shape) // count
        if rank == 0:
            raise UnsupportedError(
                f"tsv_m: tensor {part.name!r} of shape {list(part.shape)} has no singular direction for each "
                f"of {count} contributions; name it in parameters.exclude"
            )
        triplets = [singular_triplets(tau, rank) for tau in taus]
        left = polar_factor(torch.cat([one.left for one in triplets], dim=1))
        right = polar_factor(torch.cat([one.right for one in triplets]))
        return left * torch.cat([one.values for one in triplets]) @ right

    return merge_matrices(
        lambda part: schedule[part.name].parameters.covers(part),
        merged_matrix,
        lambda part: schedule[part.name].parameters.scale,
    )


INFO = MethodInfo(
    name="tsv_m",
    summary="keeps a few singular directions of each task's matrices and makes those of all tasks orthogonal",
    paper='Gargiulo et al., "Task Singular Vectors", CVPR 2025, arXiv:2412.00081',
    kind="static",
    run=run,
    parameters=MatrixParameters,
)
