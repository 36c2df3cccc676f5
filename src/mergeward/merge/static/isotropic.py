"""Isotropic merging: give all singular directions of the merged matrices the same weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from mergeward.merge.method import MethodInfo, NoParameters
from mergeward.merge.settings import Schedule
from mergeward.merge.static.matrices import (
    MatrixParameters,
    mean,
    merge_matrices,
    polar_factor,
    singular_triplets,
)
from mergeward.merge.static.problem import Part, StaticMerge, StaticProblem


class SubspaceParameters(MatrixParameters):
    """Parameters of `iso_cts`.

    Attributes:
        scale: Factor of the merged task vector; `lambda` in a recipe.
        exclude: Parts of the names of matrices that are treated as other tensors are.
        common_fraction: Share of the directions that are those of the sum of all task vectors.
    """

    common_fraction: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of the directions that come from the sum of all task vectors",
    )


def run_common(problem: StaticProblem, schedule: Schedule[MatrixParameters, NoParameters]) -> StaticMerge:
    """Merge each matrix by theta_0 + lambda * s U V^T, and other tensors by their mean (Iso-C).

    U S V^T is the sum of the task vectors and s the mean of its singular values. Directions in which the
    sum is zero stay zero. T task vectors of one tensor are held at a time. Fused and split query, key and
    value matrices give different results.

    Source: Marczak et al., "No Task Left Behind", section 4.1 (arXiv:2502.04959).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda and the names that are excluded.
    """

    def merged_matrix(part: Part, taus: Sequence[Tensor]) -> Tensor:
        left, values, right = singular_triplets(mean(taus) * len(taus))
        return values.mean() * (left @ right)

    return merge_matrices(
        lambda part: schedule[part.name].parameters.covers(part),
        merged_matrix,
        lambda part: schedule[part.name].parameters.scale,
    )


def run_subspaces(
    problem: StaticProblem, schedule: Schedule[SubspaceParameters, NoParameters]
) -> StaticMerge:
    """Merge matrices in a common subspace and one of each task, other tensors by their mean (Iso-CTS).

    The common subspace is that of the largest singular values of the sum of the task vectors; of each task
    vector, less what lies in the left common subspace, the largest directions follow. Their vectors are made
    orthonormal (polar factor) and all get the mean singular value. The number of directions of the tasks is
    the rest of min(m, n), rounded to a multiple of T, to even at the half, as in the authors' code.

    Source: Marczak et al., "No Task Left Behind", section 4.2 (arXiv:2502.04959).

    Args:
        problem: The base, its contributions and the scope.
        schedule: lambda, the names that are excluded, and the share of the common directions.
    """

    def merged_matrix(part: Part, taus: Sequence[Tensor]) -> Tensor:
        size, count = min(part.shape), len(taus)
        fraction = schedule[part.name].parameters.common_fraction
        own = min(round((size - int(size * fraction)) / count), size // count)
        common = singular_triplets(mean(taus) * count, size - own * count)
        inside = common.left @ common.left.T
        spaces = [singular_triplets(tau - inside @ tau.double(), own) for tau in taus]
        spaces.append(common)
        left = polar_factor(torch.cat([space.left for space in spaces], dim=1))
        right = polar_factor(torch.cat([space.right for space in spaces]))
        return torch.cat([space.values for space in spaces]).mean() * (left @ right)

    return merge_matrices(
        lambda part: schedule[part.name].parameters.covers(part),
        merged_matrix,
        lambda part: schedule[part.name].parameters.scale,
    )


PAPER = 'Marczak et al., "No Task Left Behind", ICML 2025, arXiv:2502.04959'

COMMON = MethodInfo(
    name="iso_c",
    summary="gives all singular directions of the summed task vectors the same weight",
    paper=PAPER,
    kind="static",
    run=run_common,
    parameters=MatrixParameters,
)
SUBSPACES = MethodInfo(
    name="iso_cts",
    summary="gives the singular directions of the sum, and further ones of each task, the same weight",
    paper=PAPER,
    kind="static",
    run=run_subspaces,
    parameters=SubspaceParameters,
)
